#include "parity/zip_file.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>

#include "lockstep/error.h"

namespace lockstep::parity {
namespace {

constexpr uint64_t kEndRecordBytes = 22, kLocalBytes = 30, kCentralBytes = 46;

[[noreturn]] void broken(const std::string& file, const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, fmt::format("{}: not a readable zip: {}", file, what));
}

template <class T>
T get(std::span<const std::byte> bytes, uint64_t at, const std::string& file) {
  if (at > bytes.size() || bytes.size() - at < sizeof(T)) broken(file, "it ends too early");
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

struct Directory {
  uint64_t begin = 0, entries = 0;
};

Directory find_directory(std::span<const std::byte> zip, const std::string& file) {
  if (zip.size() < kEndRecordBytes) broken(file, "it is too short");
  const uint64_t last = zip.size() - kEndRecordBytes;
  const uint64_t first = last > 65535 ? last - 65535 : 0;
  for (uint64_t at = last + 1; at-- > first;) {
    if (get<uint32_t>(zip, at, file) != 0x06054b50u) continue;
    Directory out{get<uint32_t>(zip, at + 16, file), get<uint16_t>(zip, at + 10, file)};
    if (at >= 20 && get<uint32_t>(zip, at - 20, file) == 0x07064b50u) {
      const auto big = get<uint64_t>(zip, at - 12, file);
      if (get<uint32_t>(zip, big, file) != 0x06064b50u) broken(file, "bad zip64 record");
      out.entries = get<uint64_t>(zip, big + 32, file);
      out.begin = get<uint64_t>(zip, big + 48, file);
    }
    return out;
  }
  broken(file, "no end record");
}

}  // namespace

std::vector<ZipMember> read_zip_directory(std::span<const std::byte> zip, const std::string& file) {
  const Directory directory = find_directory(zip, file);
  std::vector<ZipMember> out;
  uint64_t at = directory.begin;
  for (uint64_t i = 0; i < directory.entries; ++i) {
    if (get<uint32_t>(zip, at, file) != 0x02014b50u) broken(file, "bad directory entry");
    const auto flags = get<uint16_t>(zip, at + 8, file);
    const auto method = get<uint16_t>(zip, at + 10, file);
    uint64_t packed = get<uint32_t>(zip, at + 20, file);
    uint64_t size = get<uint32_t>(zip, at + 24, file);
    uint64_t local = get<uint32_t>(zip, at + 42, file);
    const uint64_t name_bytes = get<uint16_t>(zip, at + 28, file);
    const uint64_t extra_bytes = get<uint16_t>(zip, at + 30, file);
    const uint64_t comment_bytes = get<uint16_t>(zip, at + 32, file);
    const uint64_t next = at + kCentralBytes + name_bytes + extra_bytes + comment_bytes;
    if (next > zip.size()) broken(file, "its directory ends too early");
    ZipMember member;
    member.name.assign(reinterpret_cast<const char*>(zip.data()) + at + kCentralBytes, name_bytes);
    const uint64_t extra_end = at + kCentralBytes + name_bytes + extra_bytes;
    for (uint64_t e = at + kCentralBytes + name_bytes; e + 4 <= extra_end;) {
      const uint64_t body = e + 4;
      const uint64_t bytes = get<uint16_t>(zip, e + 2, file);
      if (get<uint16_t>(zip, e, file) == 1) {  // zip64: only the fields that overflowed, in order
        uint64_t field = body;
        for (uint64_t* value : {&size, &packed, &local}) {
          if (*value != 0xffffffffu) continue;
          *value = get<uint64_t>(zip, field, file);
          field += 8;
        }
      }
      e = body + bytes;
    }
    if (flags & 1) broken(file, member.name + " is encrypted");
    if (method != 0 && method != 8) {
      broken(file, fmt::format("{} is packed by method {}", member.name, method));
    }
    if (get<uint32_t>(zip, local, file) != 0x04034b50u) broken(file, "bad member header");
    const uint64_t data = local + kLocalBytes + get<uint16_t>(zip, local + 26, file) +
                          get<uint16_t>(zip, local + 28, file);
    if (data > zip.size() || zip.size() - data < packed) broken(file, member.name + " is cut off");
    member.deflated = method == 8;
    member.size = size;
    member.bytes = zip.subspan(data, packed);
    if (!member.deflated && packed != size) broken(file, member.name + " has two sizes");
    out.push_back(std::move(member));
    at = next;
  }
  return out;
}

std::vector<std::byte> inflate_member(const ZipMember& member, const std::string& file) {
  // Deflate cannot pack better than about 1:1032; a larger claim is a lie, refused before the
  // memory is asked for.
  if (member.size / 1100 > member.bytes.size() + 1) {
    broken(file, fmt::format("{} claims {} bytes", member.name, member.size));
  }
  std::vector<std::byte> out(member.size);
  z_stream stream{};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) broken(file, "zlib did not start");
  uint64_t in_done = 0, out_done = 0;
  int status = Z_OK;
  constexpr uint64_t kStep = 1u << 30;  // zlib counts in 32 bits
  while (status == Z_OK) {
    const uint64_t in = std::min(kStep, member.bytes.size() - in_done);
    const uint64_t room = std::min(kStep, out.size() - out_done);
    stream.next_in =
        reinterpret_cast<Bytef*>(const_cast<std::byte*>(member.bytes.data() + in_done));
    stream.avail_in = static_cast<uInt>(in);
    stream.next_out = reinterpret_cast<Bytef*>(out.data() + out_done);
    stream.avail_out = static_cast<uInt>(room);
    status = inflate(&stream, Z_NO_FLUSH);
    in_done += in - stream.avail_in;
    out_done += room - stream.avail_out;
    if (in == stream.avail_in && room == stream.avail_out && status == Z_OK) break;
  }
  inflateEnd(&stream);
  if (status != Z_STREAM_END || out_done != out.size()) {
    broken(file, fmt::format("{} does not unpack to {} bytes", member.name, member.size));
  }
  return out;
}

}  // namespace lockstep::parity
