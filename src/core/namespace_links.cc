#include "core/namespace_links.h"

#include <utility>

namespace s3cache::core {

using meta::Ext;
using meta::Inode;
using meta::Kind;
using meta::Table;

namespace {

std::string trimmed(const std::string& s) {
  const size_t begin = s.find_first_not_of(' ');
  if (begin == std::string::npos) return "";
  return s.substr(begin, s.find_last_not_of(' ') - begin + 1);
}

}  // namespace

class LinkReader::Sink : public s3::GetSink {
 public:
  Sink(LinkReader& owner, uint64_t ino, Callback<std::string> done)
      : owner_(owner), ino_(ino), done_(std::move(done)) {}

  bool on_headers(const s3::ObjectInfo& info) override {
    info_ = info;
    return info.size <= kMaxSymlink;
  }
  bool on_data(int64_t, std::span<const std::byte> data) override {
    body_.append(reinterpret_cast<const char*>(data.data()), data.size());
    return body_.size() <= static_cast<size_t>(kMaxSymlink);
  }
  void on_done(Status status) override {
    if (status.is(Code::kCancelled) && info_.size > kMaxSymlink) {
      return done_(Error{Code::kInvalid, "inode " + std::to_string(ino_) + " is too long for a symlink"});
    }
    if (!status.ok()) return done_(status.error());
    const std::string target = trimmed(body_);
    owner_.store(ino_, info_, target);
    done_(target);
  }

 private:
  LinkReader& owner_;
  const uint64_t ino_;
  const Callback<std::string> done_;
  s3::ObjectInfo info_;
  std::string body_;
};

void LinkReader::read(uint64_t ino, Callback<std::string> done) {
  auto inode = c_.inodes.get(ino);
  if (!inode.ok()) return done(Error{Code::kStale, inode.error().message});
  if (inode->kind != Kind::kSymlink) return done(Error{Code::kInvalid, inode->name + " is no symlink"});
  auto ext = load_record<Ext>(c_.store(), Table::kExt, meta::id_key(ino));
  if (!ext.ok()) return done(ext.error());
  if (*ext && !(*ext)->symlink.empty()) return done((*ext)->symlink);
  auto key = c_.inodes.key_of(ino);
  if (!key.ok()) return done(Error{Code::kStale, key.error().message});
  s3::GetRequest request;
  request.key = std::move(*key);
  c_.s3.get(std::move(request), std::make_shared<Sink>(*this, ino, std::move(done)));
}

void LinkReader::store(uint64_t ino, const s3::ObjectInfo& info, const std::string& target) {
  // Kept only for the version it was read from; a newer one is the next lookup's business.
  (void)c_.inodes.update(ino, [&](Inode& inode, meta::Batch& batch) {
    const bool same = inode.kind == Kind::kSymlink && inode.size == info.size &&
                      (inode.etag == info.etag || inode.etag.empty()) &&
                      inode.last_modified_s == info.last_modified;
    if (!same) return false;
    auto ext = load_record<Ext>(c_.store(), Table::kExt, meta::id_key(ino));
    Ext kept = ext.ok() && *ext ? std::move(**ext) : Ext();
    kept.symlink = target;
    // A target too long for the record beside its headers is asked for again.
    const std::string encoded = kept.encode();
    const auto fits = Ext::decode(encoded);
    if (encoded.size() <= meta::kMaxValue && fits && fits->symlink == target) {
      batch.put(Table::kExt, meta::id_key(ino), encoded);
    }
    inode.base_len = static_cast<int64_t>(target.size());
    return true;
  });
}

}  // namespace s3cache::core
