#include "runtime/prefix_cache.h"

#include <algorithm>

namespace lockstep {
namespace {

// FNV-1a over 64-bit words with a last mix, so that low bits depend on all.
uint64_t mix(uint64_t hash, uint64_t word) noexcept {
  hash = (hash ^ word) * 0x100000001b3ull;
  return hash ^ (hash >> 29);
}

uint64_t key_of(uint64_t parent, std::span<const int32_t> tokens, std::string_view salt) {
  uint64_t hash = mix(0xcbf29ce484222325ull, parent);
  if (parent == 0) hash = mix(hash, std::hash<std::string_view>{}(salt));
  for (const int32_t token : tokens) hash = mix(hash, static_cast<uint32_t>(token));
  return hash;
}

}  // namespace

PrefixCache::PrefixCache(const Options& options, CountedIds& pages, CountedIds& slots)
    : options_(options), pages_(pages), slots_(slots) {}

PrefixCache::~PrefixCache() {
  for (auto& [key, block] : blocks_) {
    if (block->page >= 0) pages_.drop(block->page);
    if (block->snapshot >= 0) slots_.drop(block->snapshot);
  }
}

PrefixCache::Block* PrefixCache::look_up(const Chain& chain, std::span<const int32_t> tokens,
                                         std::string_view salt) const {
  const uint64_t parent = chain.empty() ? 0 : chain.back()->id;
  const auto [begin, end] = blocks_.equal_range(key_of(parent, tokens, salt));
  for (auto entry = begin; entry != end; ++entry) {
    Block& block = *entry->second;
    if (block.parent == parent && std::ranges::equal(block.tokens, tokens) &&
        (parent != 0 || block.salt == salt)) {
      return &block;
    }
  }
  return nullptr;
}

void PrefixCache::use(Block& block) {
  if (block.n_users++ == 0) used_.splice(used_.end(), unused_, block.in_list);
}

PrefixCache::Hit PrefixCache::find(std::span<const int32_t> tokens, std::string_view salt) {
  Hit hit;
  const auto size = static_cast<size_t>(options_.block_size);
  Chain known;
  for (size_t begin = 0; begin + size <= tokens.size(); begin += size) {
    Block* block = look_up(known, tokens.subspan(begin, size), salt);
    if (block == nullptr) break;
    known.push_back(block);
  }
  hit.n_known = static_cast<int64_t>(known.size());
  if (options_.has_states) {
    while (!known.empty() && known.back()->snapshot < 0) known.pop_back();
  }
  if (known.empty()) return hit;
  hit.snapshot = known.back()->snapshot;
  if (hit.snapshot >= 0) {
    snapshots_.splice(snapshots_.end(), snapshots_, known.back()->in_snapshots);
  }
  for (Block* block : known) use(*block);
  hit.chain = std::move(known);
  return hit;
}

void PrefixCache::extend(Chain& chain, std::span<const int32_t> tokens, int32_t page,
                         std::string_view salt) {
  if (Block* known = look_up(chain, tokens, salt)) {
    chain.push_back(known);
    use(*known);
    return;
  }
  if (options_.max_blocks > 0 && static_cast<int64_t>(blocks_.size()) >= options_.max_blocks &&
      !unused_.empty()) {
    remove(*unused_.front());
  }
  const uint64_t parent = chain.empty() ? 0 : chain.back()->id;
  auto block = std::make_unique<Block>();
  block->id = next_id_++;
  block->parent = parent;
  block->key = key_of(parent, tokens, salt);
  block->tokens.assign(tokens.begin(), tokens.end());
  if (parent == 0) block->salt = salt;
  block->n_users = 1;
  block->in_list = used_.insert(used_.end(), block.get());
  Block* const added = blocks_.emplace(block->key, std::move(block))->second.get();
  if (page >= 0) {
    added->page = page;
    pages_.hold(page);
  }
  chain.push_back(added);
}

int32_t PrefixCache::add_snapshot(Block& block) {
  if (block.snapshot >= 0) {
    snapshots_.splice(snapshots_.end(), snapshots_, block.in_snapshots);
    return -1;
  }
  if (slots_.n_free() == 0 && !evict_snapshot()) return -1;
  block.in_snapshots = snapshots_.insert(snapshots_.end(), &block);
  block.snapshot = slots_.take();
  return block.snapshot;
}

void PrefixCache::drop_snapshot(Block& block) noexcept {
  if (block.snapshot < 0) return;
  slots_.drop(block.snapshot);
  snapshots_.erase(block.in_snapshots);
  block.snapshot = -1;
}

void PrefixCache::give_back(Chain& chain) noexcept {
  // Ends first, so that they are evicted before what leads to them.
  for (auto entry = chain.rbegin(); entry != chain.rend(); ++entry) {
    Block& block = **entry;
    if (--block.n_users == 0) unused_.splice(unused_.end(), used_, block.in_list);
  }
  chain.clear();
}

void PrefixCache::remove(Block& block) noexcept {
  drop_snapshot(block);
  if (block.page >= 0) pages_.drop(block.page);
  unused_.erase(block.in_list);
  const auto [begin, end] = blocks_.equal_range(block.key);
  blocks_.erase(
      std::find_if(begin, end, [&](const auto& entry) { return entry.second.get() == &block; }));
}

bool PrefixCache::evict_page() {
  if (!options_.has_pages || unused_.empty()) return false;
  remove(*unused_.front());
  return true;
}

bool PrefixCache::evict_snapshot() {
  if (snapshots_.empty()) return false;
  drop_snapshot(*snapshots_.front());
  return true;
}

}  // namespace lockstep
