// Attributes: from an object's headers, or its line in a listing, to an inode record, and from there to the
// kernel.
//
// The headers are those of s3fs, with the fall-backs it reads (s3sync, goog-reserved). Two identities decide
// what survives a change: pages belong to (ETag, size), attributes to (ETag, LastModified); a server without
// ETags is judged by (size, LastModified). Threads: pure functions. Units: bytes, s, ns.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/namespace.h"
#include "meta/records.h"
#include "s3/s3_client.h"

namespace s3cache::core {

// The times of an object as s3fs writes them. A ctime of this mount has nanoseconds of its own: it tells an
// object of ours from anybody else's.
inline constexpr std::string_view kMtimeHeader = "x-amz-meta-mtime", kCtimeHeader = "x-amz-meta-ctime";

// No symlink is longer than PATH_MAX - 1, so a larger object is a regular file without asking.
inline constexpr int64_t kMaxSymlink = 4095;

// What changed in a record when the server's word was applied. kIdentity: what is known of the same version,
// such as its LastModified, which a PUT's answer does not say; all attributes stay.
enum class Change : uint8_t { kNone, kIdentity, kAttributes, kContent };

// A line of a listing: the object is there with this size, ETag and time. Attributes only HEAD knows become
// unknown when they belong to another (ETag, LastModified). A record that is newer here (kLocal) is left
// alone.
Change apply_listed(meta::Inode& inode, const s3::ListedObject& object);

// The headers of a HEAD or GET. Identity, kind, mode, owner and times become the object's own.
Change apply_head(meta::Inode& inode, const s3::ObjectInfo& info, std::string_view key,
                  const NamespaceOptions& options);

// HEAD was refused (403, 400) for a listed key: a regular file that nobody but its owner may read, as s3fs
// shows it; asked again past the TTL.
void apply_refused(meta::Inode& inode);

// Whether a directory has an object of its own ("dir/"), and which; nullptr: it has none.
Change apply_marker(meta::Inode& directory, const s3::ListedObject* marker);

// The cold part of the same headers: xattrs and kept headers. The symlink's target is not in them.
meta::Ext ext_of(const s3::ObjectInfo& info);
bool empty(const meta::Ext& ext);

// A new record for a name first seen in a listing.
meta::Inode new_file(uint64_t parent, std::string_view name, const s3::ListedObject& object);
meta::Inode new_directory(uint64_t parent, std::string_view name);

// Whether only a HEAD can tell the attributes of this record exactly. `checked_at_ns` is its dirent's: a HEAD
// that came within two seconds of the object's birth is asked once more past the TTL.
bool needs_head(const meta::Inode& inode, AttrMode mode, bool head_past_ttl);

// DT_* as far as it is known without a request.
uint32_t d_type_of(const meta::Inode& inode, AttrMode mode);

// By the type bits of a mode; without any it is a file.
meta::Kind kind_of_mode(uint32_t mode);

// Text forms, exposed for tests. nullopt: malformed.
std::optional<int64_t> parse_time_ns(std::string_view text);  // "SECONDS[.FRACTION]"
std::optional<uint64_t> parse_number(std::string_view text, int base);

}  // namespace s3cache::core
