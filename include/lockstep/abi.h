// The plug-in boundary, in C: what a port calls while it is traced, and what it exports.
// Everything else under include/lockstep/ is a header-only C++ layer over this file, so a port may
// be built by another compiler than the program that loads it.
#ifndef LOCKSTEP_ABI_H_
#define LOCKSTEP_ABI_H_

#include <stddef.h>
#include <stdint.h>

#define LOCKSTEP_ABI_VERSION 2
#define LOCKSTEP_SDK_VERSION "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct LockstepBuilder LockstepBuilder;

// A tensor of the graph: output `output` of node `node`.
typedef struct LockstepValue {
  uint32_t node;
  uint32_t output;
} LockstepValue;

// `count` times a symbol's run-time value; the symbol LOCKSTEP_ONE makes it a plain number.
enum { LOCKSTEP_ONE = 0, LOCKSTEP_TOKENS = 1, LOCKSTEP_SEQUENCES = 2, LOCKSTEP_LOGIT_ROWS = 4 };
typedef struct LockstepDim {
  int64_t count;
  uint32_t symbol;
} LockstepDim;

enum LockstepAttrKind {
  LOCKSTEP_ATTR_INT = 0,
  LOCKSTEP_ATTR_FLOAT = 1,
  LOCKSTEP_ATTR_STRING = 2,
  LOCKSTEP_ATTR_INTS = 3,
  LOCKSTEP_ATTR_FLOATS = 4
};
typedef struct LockstepAttr {
  const char* name;
  uint32_t kind;  // LockstepAttrKind; the field that holds the value
  int64_t integer;
  double number;
  const char* text;
  const int64_t* integers;  // [length]
  const double* numbers;    // [length]
  size_t length;
} LockstepAttr;

// An argument of a module call; name may be NULL.
typedef struct LockstepArgument {
  const char* name;
  LockstepValue value;
} LockstepArgument;

enum LockstepConfigKind {
  LOCKSTEP_CONFIG_ABSENT = 0,
  LOCKSTEP_CONFIG_NULL = 1,
  LOCKSTEP_CONFIG_BOOL = 2,
  LOCKSTEP_CONFIG_INT = 3,
  LOCKSTEP_CONFIG_FLOAT = 4,
  LOCKSTEP_CONFIG_STRING = 5,
  LOCKSTEP_CONFIG_ARRAY = 6,
  LOCKSTEP_CONFIG_OBJECT = 7
};

enum LockstepCacheKind {
  LOCKSTEP_CACHE_PAGED = 0,  // one entry a token, [heads, width]: [pages, heads, page size, width]
  LOCKSTEP_CACHE_SLOT = 1    // one entry a sequence: [slots, ...], zero when a sequence begins
};
enum LockstepCacheDType { LOCKSTEP_CACHE_ACTIVATION = 0, LOCKSTEP_CACHE_FLOAT32 = 1 };

// Rows [row_begin, row_end) of a stored tensor's first dimension (row_end 0: to the end), the last
// two dimensions of what is taken exchanged if `transpose` is set.
typedef struct LockstepPart {
  const char* stored;
  int64_t row_begin, row_end;
  int transpose;
} LockstepPart;

// Where the model that is traced stands inside another one, whose checkpoint and config.json it is
// read from. Everything the port says is in the model's own names; the host has the outer ones.
typedef struct LockstepWrapper {
  // The object of config.json that holds the model's keys; where there is none, all of config.json
  // is the model's. `outer_keys` are the outer object's where it has them.
  const char* config;
  const char* const* outer_keys;
  size_t n_outer_keys;
  // Module paths below `own_prefix` are the reference's below `path` (neither ends in a dot).
  const char* own_prefix;
  const char* path;
  // Stored names are those of the reference's paths, or the model's own after one of these.
  const char* const* stored_prefixes;
  size_t n_stored_prefixes;
  // Weights, in the model's own names, of which more rows may be stored than there are.
  const char* const* padded;
  size_t n_padded;
} LockstepWrapper;

// The builder's functions. Each returns 0, or an ErrorCode (lockstep/error.h); last_message and
// last_hint then say why. Strings are copied unless stated otherwise.
typedef struct LockstepApi {
  uint32_t abi_version;  // LOCKSTEP_ABI_VERSION of the host
  uint32_t size;         // sizeof(LockstepApi) of the host; new functions are appended
  const char* host_version;

  const char* (*last_message)(LockstepBuilder*);
  const char* (*last_hint)(LockstepBuilder*);
  // Records an error of the port's own, so that build() can return its code.
  void (*fail)(LockstepBuilder*, int code, const char* message, const char* hint);

  // config.json; `path` is dotted. A read marks the key as read. Strings live as long as the
  // builder. config_number accepts integers.
  int (*config_kind)(LockstepBuilder*, const char* path, uint32_t* kind);
  int (*config_int)(LockstepBuilder*, const char* path, int64_t* value);
  int (*config_number)(LockstepBuilder*, const char* path, double* value);
  int (*config_bool)(LockstepBuilder*, const char* path, int* value);
  int (*config_string)(LockstepBuilder*, const char* path, const char** value);
  int (*config_length)(LockstepBuilder*, const char* path, size_t* value);
  const char* (*config_file)(LockstepBuilder*);

  // Weights. `path` is the module path and the parameter's name. parameter_of is a weight that is
  // stored otherwise: the elements of its parts one after the other (rename, split, stack,
  // concatenate, transpose). parameter_exists sets *exists when the checkpoint stores it. tie makes
  // `path` share the weight of `source` unless the checkpoint stores another one. drop declares
  // stored tensors (pattern with '*') as unused.
  int (*parameter)(LockstepBuilder*, const char* path, const int64_t* shape, size_t rank,
                   LockstepValue* value);
  int (*parameter_of)(LockstepBuilder*, const char* path, const int64_t* shape, size_t rank,
                      const LockstepPart* parts, size_t n_parts, LockstepValue* value);
  int (*parameter_exists)(LockstepBuilder*, const char* path, int* exists);
  int (*tie)(LockstepBuilder*, const char* path, LockstepValue source, LockstepValue* value);
  int (*drop)(LockstepBuilder*, const char* pattern, const char* reason);

  // What a step brings ("@input_ids", "@positions", ...), and caches that live across steps.
  // A cache is named after the module call that declares it: "@<path>/<name>".
  int (*input)(LockstepBuilder*, const char* name, LockstepValue* value);
  int (*cache)(LockstepBuilder*, const char* name, uint32_t kind, uint32_t dtype,
               const int64_t* shape, size_t rank, LockstepValue* value);

  // Module calls nest; what is built between enter and leave belongs to the call.
  int (*enter)(LockstepBuilder*, const char* path, const char* class_name,
               const LockstepArgument* arguments, size_t n_arguments);
  int (*leave)(LockstepBuilder*, const LockstepValue* outputs, size_t n_outputs);
  // Names a value inside the current call: the tap "<path>/<name>".
  int (*tap)(LockstepBuilder*, const char* name, LockstepValue value);

  int (*op)(LockstepBuilder*, const char* name, const LockstepValue* inputs, size_t n_inputs,
            const LockstepAttr* attrs, size_t n_attrs, LockstepValue* outputs, size_t n_outputs);
  int (*shape)(LockstepBuilder*, LockstepValue value, LockstepDim* dims, size_t* rank);
  int (*output)(LockstepBuilder*, const char* name, LockstepValue value);

  // out[i] = torch.pow(base, exponents[i]) in float32, to the bit.
  int (*powers)(LockstepBuilder*, float base, const float* exponents, size_t n, float* out);

  // From here on the model stands inside `wrapper`. Before any parameter and module call, once.
  int (*wrapper)(LockstepBuilder*, const LockstepWrapper* wrapper);
  // What the port takes where config.json lacks `path`, as JSON: for reports.
  int (*config_default)(LockstepBuilder*, const char* path, const char* json);

  // From here on `path` of config.json and what is below it reads as `json`; NULL: as if it were
  // absent. What the file has there stays unread.
  int (*config_replace)(LockstepBuilder*, const char* path, const char* json);
} LockstepApi;

// An architecture: traced by build(), which returns 0 or an ErrorCode after api->fail.
typedef struct LockstepArchitecture {
  const char* class_name;         // config.json "architectures"[0]
  const char* slug;               // the folder's name; Hugging Face's model_type where registered
  const char* base_model_prefix;  // stored names bind with or without "<prefix>."
  int (*build)(const LockstepApi* api, LockstepBuilder* builder);
} LockstepArchitecture;

// What a compiled port exports, as the function `lockstep_port`.
typedef struct LockstepPort {
  uint32_t abi_version;
  const char* sdk_version;
  const LockstepArchitecture* const* architectures;
  size_t n_architectures;
} LockstepPort;

typedef const LockstepPort* (*LockstepPortEntry)(void);

#ifdef __cplusplus
}
#endif

#endif  // LOCKSTEP_ABI_H_
