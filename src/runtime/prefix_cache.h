// What prompts have in common is computed once: full blocks of tokens, chained from the beginning,
// with the page that holds their keys and values and, where the model has states, a snapshot of
// them after the block's last token.
//
//   salt -> [ t0 .. t15 ] -> [ t16 .. t31 ] -> [ t32 .. t47 ]
//                 page 7           page 2          page 9
//                                  slot 70                      a hit with states ends here
//
// A block is found by the one before it and its tokens, compared and not only hashed: a hit is
// never wrong. Blocks that no sequence uses stay until their pages are wanted: the one unused
// longest goes first, ends before beginnings.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runtime/counted_ids.h"

namespace lockstep {

class PrefixCache {
 public:
  struct Block;
  /// Blocks of one text from its beginning, each in use until given back.
  using Chain = std::vector<Block*>;

  struct Options {
    int64_t block_size = 16;  // tokens: a page's
    bool has_pages = true, has_states = false;
    int64_t max_blocks = 0;  // where blocks hold no pages, which bound their number otherwise
  };
  /// Holds pages and slots of `pages` and `slots`, which must outlive this.
  PrefixCache(const Options& options, CountedIds& pages, CountedIds& slots);
  ~PrefixCache();
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  struct Hit {
    Chain chain;            // in use from now on
    int32_t snapshot = -1;  // slot of the states after it; copy it before anything is evicted
    /// Blocks of this text that are known, chain included: more than the chain has where states
    /// are lacking. A snapshot there serves whoever comes next.
    int64_t n_known = 0;
  };
  /// The longest beginning of `tokens` that a sequence can go on from.
  Hit find(std::span<const int32_t> tokens, std::string_view salt);

  /// Adds the block that follows `chain`, of `tokens` (block_size of them), to it and to the cache,
  /// which from then on holds `page` too (-1: blocks hold none). Where the block is known already,
  /// the known one joins the chain, and `page` is left to its holder.
  void extend(Chain& chain, std::span<const int32_t> tokens, int32_t page, std::string_view salt);
  /// A slot to copy the states after `block` into, held by the cache with it; the snapshot unused
  /// longest makes room. -1 when the block has one already, or there is no room.
  int32_t add_snapshot(Block& block);
  void drop_snapshot(Block& block) noexcept;

  /// The chain's blocks are no longer used by its owner.
  void give_back(Chain& chain) noexcept;

  /// Pages that only the cache holds.
  int64_t n_evictable_pages() const noexcept {
    return options_.has_pages ? static_cast<int64_t>(unused_.size()) : 0;
  }
  int64_t n_snapshots() const noexcept { return static_cast<int64_t>(snapshots_.size()); }
  /// Frees one page, or one slot; false when none is left that only the cache holds.
  bool evict_page();
  bool evict_snapshot();

 private:
  Block* look_up(const Chain& chain, std::span<const int32_t> tokens, std::string_view salt) const;
  void use(Block& block);
  void remove(Block& block) noexcept;

  Options options_;
  CountedIds& pages_;
  CountedIds& slots_;
  std::unordered_multimap<uint64_t, std::unique_ptr<Block>> blocks_;
  std::list<Block*> used_, unused_;  // every block is in one; unused longest first
  std::list<Block*> snapshots_;      // blocks with one; unused longest first
  uint64_t next_id_ = 1;
};

struct PrefixCache::Block {
  uint64_t id = 0, parent = 0;  // parent 0: the beginning
  uint64_t key = 0;
  std::vector<int32_t> tokens;
  std::string salt;  // of a first block
  int32_t page = -1, snapshot = -1;
  int64_t n_users = 0;
  std::list<Block*>::iterator in_list, in_snapshots;
};

}  // namespace lockstep
