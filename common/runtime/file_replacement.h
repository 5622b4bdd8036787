// Puts a whole file in the place of another, for readers that may come at any time.
//
// It is written under another name in the same directory (".NAME.PID.new"), synced and renamed:
// whoever opens NAME sees the old file or the new one, whole. Fails with kPermanent and one
// sentence when the directory does not let us (full, gone, no right).
//
// Thread rule: one thread. Calls may block as long as the directory does.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include "common/base/result.h"

namespace gema::runtime {

// One file being replaced. Gone again, unless commit() went well.
class FileReplacement {
 public:
  // Makes the directory if its parent is there.
  static Result<FileReplacement> begin(const std::filesystem::path& dir, const std::string& name);
  FileReplacement(FileReplacement&& other) noexcept;
  FileReplacement& operator=(FileReplacement&&) = delete;
  ~FileReplacement();

  Result<void> write(std::string_view text);
  Result<void> commit();

 private:
  FileReplacement(std::filesystem::path path, std::filesystem::path next, int fd)
      : path_(std::move(path)), next_(std::move(next)), fd_(fd) {}

  std::filesystem::path path_;
  std::filesystem::path next_;
  int fd_ = -1;
};

// True for the other name of a file whose name begins with `prefix`: a crash may leave such.
bool is_unfinished_replacement(std::string_view name, std::string_view prefix);

// Removes what crashes left of replacements of `name`. No directory: nothing to remove.
Result<void> remove_unfinished(const std::filesystem::path& dir, const std::string& name);

}  // namespace gema::runtime
