// Contents' names, through OpenSSL.
#include "hub/content_hash.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>

#include "lockstep/error.h"

namespace lockstep {
namespace {

void check(int result) {
  if (result != 1) throw Error(ErrorCode::kInternal, "OpenSSL: a digest failed");
}

}  // namespace

struct ContentHash::Impl {
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context{EVP_MD_CTX_new(),
                                                                  EVP_MD_CTX_free};
};

ContentHash::ContentHash(Kind kind, uint64_t size) : impl_(std::make_unique<Impl>()) {
  if (impl_->context == nullptr) throw std::bad_alloc();
  const EVP_MD* digest = kind == Kind::kSha256 ? EVP_sha256() : EVP_sha1();
  check(EVP_DigestInit_ex(impl_->context.get(), digest, nullptr));
  if (kind == Kind::kGitBlob) {
    const std::string head = fmt::format("blob {}", size);
    // The NUL at its end belongs to it.
    check(EVP_DigestUpdate(impl_->context.get(), head.c_str(), head.size() + 1));
  }
}

ContentHash::~ContentHash() = default;
ContentHash::ContentHash(ContentHash&&) noexcept = default;
ContentHash& ContentHash::operator=(ContentHash&&) noexcept = default;

void ContentHash::add(std::span<const std::byte> bytes) {
  check(EVP_DigestUpdate(impl_->context.get(), bytes.data(), bytes.size()));
}

std::string ContentHash::finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned n = 0;
  check(EVP_DigestFinal_ex(impl_->context.get(), digest.data(), &n));
  std::string out;
  for (unsigned i = 0; i < n; ++i) out += fmt::format("{:02x}", digest[i]);
  return out;
}

}  // namespace lockstep
