#include "mlxcpp/base/error.h"
#include "mlxcpp/io/file.h"
#include "mlxcpp/io/npy.h"

#include <zip.h>

#include <algorithm>
#include <set>
#include <utility>

namespace mlxcpp::io {
namespace {

constexpr std::string_view kSuffix = ".npy";
constexpr std::uint64_t kDeflateMost = 1032;  // the most bytes that one deflated byte can become

[[noreturn]] void damaged(const std::string& label, zip_error_t* error) {
  throw WeightError(describe(label, "damaged archive", "", zip_error_strerror(error)));
}

struct OpenError {
  zip_error_t value;
  OpenError() { zip_error_init(&value); }
  ~OpenError() { zip_error_fini(&value); }
};

}  // namespace

struct Npz::Archive {
  std::shared_ptr<const MappedFile> file;
  std::string label;
  zip_t* zip = nullptr;

  ~Archive() {
    if (zip) zip_discard(zip);
  }
};

Npz::Npz(std::unique_ptr<Archive> archive) : archive_(std::move(archive)) {}
Npz::Npz(Npz&&) noexcept = default;
Npz& Npz::operator=(Npz&&) noexcept = default;
Npz::~Npz() = default;

std::string Npz::label(const Member& m) const { return archive_->label + ": " + m.name; }

Npz Npz::open(const std::filesystem::path& path) {
  auto archive = std::make_unique<Archive>();
  archive->file = MappedFile::open(path);
  archive->label = path.string();
  auto bytes = archive->file->bytes();
  if (bytes.empty()) throw WeightError(describe(archive->label, "not an archive", "", "no bytes"));
  OpenError error;
  auto open_with = [&](int flags) {
    // The mapping, not the name: nobody can put another file in its place.
    zip_source_t* source = zip_source_buffer_create(bytes.data(), bytes.size(), 0, &error.value);
    if (source) archive->zip = zip_open_from_source(source, ZIP_RDONLY | flags, &error.value);
    if (source && !archive->zip) zip_source_free(source);
  };
  open_with(ZIP_CHECKCONS);
  // A name that is there twice: found again below, to be told.
  if (!archive->zip && zip_error_code_zip(&error.value) == ZIP_ER_EXISTS) open_with(0);
  if (!archive->zip) damaged(archive->label, &error.value);
  Npz npz(std::move(archive));
  std::set<std::string> names;
  zip_int64_t count = zip_get_num_entries(npz.archive_->zip, 0);
  for (zip_int64_t i = 0; i < count; ++i) {
    zip_stat_t stat;
    zip_stat_init(&stat);
    constexpr auto kNeeded = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE |
                             ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
    if (zip_stat_index(npz.archive_->zip, zip_uint64_t(i), 0, &stat) != 0 ||
        (stat.valid & kNeeded) != kNeeded)
      damaged(npz.archive_->label, zip_get_error(npz.archive_->zip));
    std::string name = stat.name;
    if (!name.ends_with(kSuffix))
      throw WeightError(describe(npz.archive_->label, "a member that is no .npy file", "", name));
    name.resize(name.size() - kSuffix.size());
    bool stored = stat.comp_method == ZIP_CM_STORE, deflated = stat.comp_method == ZIP_CM_DEFLATE;
    if (!names.insert(name).second)
      throw WeightError(describe(npz.archive_->label, "a member's name is there twice", "", name));
    if (stat.encryption_method != ZIP_EM_NONE || (!stored && !deflated))
      throw WeightError(describe(npz.archive_->label + ": " + name,
                                 "packed in a way that is not supported",
                                 "stored or deflated"));
    if (stored ? stat.size != stat.comp_size : stat.size / kDeflateMost > stat.comp_size + 64)
      throw WeightError(describe(
          npz.archive_->label + ": " + name,
          "a size that its bytes cannot have",
          std::to_string(stat.comp_size) + " packed bytes or fewer than that a thousandfold",
          std::to_string(stat.size)));
    npz.members_.push_back({name, stat.size, std::uint64_t(i)});
  }
  return npz;
}

Npz::File Npz::read(const Member& member) const {
  zip_file_t* in = zip_fopen_index(archive_->zip, member.index, 0);
  if (!in) damaged(label(member), zip_get_error(archive_->zip));
  std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> closing(in, zip_fclose);
  std::vector<std::byte> bytes(std::min(member.bytes, kNpyHeaderLimit + kNpyHeaderStart));
  auto fill = [&](std::uint64_t done) {
    while (done < bytes.size()) {
      zip_int64_t n = zip_fread(in, bytes.data() + done, bytes.size() - done);
      if (n < 0) damaged(label(member), zip_file_get_error(in));
      if (n == 0)
        throw WeightError(describe(label(member),
                                   "ends too soon",
                                   std::to_string(member.bytes) + " bytes",
                                   std::to_string(done)));
      done += std::uint64_t(n);
    }
  };
  fill(0);
  Npy header = Npy::parse(bytes, member.bytes, label(member));
  std::uint64_t begun = bytes.size();
  bytes.resize(member.bytes);
  fill(begun);
  std::byte more;
  zip_int64_t rest = zip_fread(in, &more, 1);  // reading to the end checks the sum
  if (rest < 0) damaged(label(member), zip_file_get_error(in));
  if (rest > 0)
    throw WeightError(describe(
        label(member), "goes on too long", std::to_string(member.bytes) + " bytes", "more"));
  return {std::move(header), std::move(bytes)};
}

}  // namespace mlxcpp::io
