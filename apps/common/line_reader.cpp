#include "apps/common/line_reader.h"

#include "apps/common/output.h"

#include <fcntl.h>
#include <histedit.h>
#include <unistd.h>

#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <new>
#include <system_error>
#include <utility>

namespace mlxcpp::apps {
namespace {

namespace fs = std::filesystem;
constexpr int kHistorySize = 1000;
constexpr std::size_t kLineLimit = std::size_t{16} << 20;

struct CloseEditor {
  void operator()(EditLine* el) const { el_end(el); }
};
struct CloseHistory {
  void operator()(History* h) const { history_end(h); }
};

/// libedit counts columns by the locale; without one, UTF-8 would be edited byte by byte.
void use_utf8() {
  const char* name = std::setlocale(LC_CTYPE, "");
  bool plain = !name || std::strcmp(name, "C") == 0 || std::strcmp(name, "POSIX") == 0;
  if (plain && !std::setlocale(LC_CTYPE, "C.UTF-8")) std::setlocale(LC_CTYPE, "en_US.UTF-8");
}

/// What was typed may be private.
void create_for_owner(const fs::path& file) {
  std::error_code ignored;
  fs::create_directories(file.parent_path(), ignored);
  int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (fd >= 0) ::close(fd);
}

}  // namespace

struct LineReader::Editor {
  explicit Editor(fs::path file) : history_file(std::move(file)) {
    use_utf8();
    history.reset(history_init());
    editor.reset(el_init("mlxcpp", stdin, stdout, stderr));
    if (!history || !editor) throw std::bad_alloc();
    ::history(history.get(), &event, H_SETSIZE, kHistorySize);
    ::history(history.get(), &event, H_SETUNIQUE, 1);
    create_for_owner(history_file);
    ::history(history.get(), &event, H_LOAD, history_file.c_str());
    el_set(editor.get(), EL_CLIENTDATA, this);
    el_set(editor.get(), EL_PROMPT, prompt_of);
    el_set(editor.get(), EL_EDITOR, "emacs");
    el_set(editor.get(), EL_SIGNAL, 1);
    el_set(editor.get(), EL_HIST, ::history, history.get());
    // While a line is edited Ctrl-C and Ctrl-Z are keys and no signals.
    el_set(editor.get(), EL_SETTY, "-d", "-isig", nullptr);
    el_set(editor.get(), EL_ADDFN, "clear-line", "Drop the line", clear_line);
    el_set(editor.get(), EL_ADDFN, "suspend", "Stop the program for a while", suspend);
    el_set(editor.get(), EL_BIND, "^C", "clear-line", nullptr);
    el_set(editor.get(), EL_BIND, "^Z", "suspend", nullptr);
    el_set(editor.get(), EL_BIND, "^W", "ed-delete-prev-word", nullptr);
    el_set(editor.get(), EL_BIND, "^R", "em-inc-search-prev", nullptr);
  }

  static char* prompt_of(EditLine* el) {
    void* self = nullptr;
    el_get(el, EL_CLIENTDATA, &self);
    return static_cast<Editor*>(self)->prompt.data();
  }

  static unsigned char clear_line(EditLine* el, int) {
    const LineInfoW* line = el_wline(el);  // counts characters, as the calls below do
    el_cursor(el, int(line->lastchar - line->cursor));
    el_deletestr(el, int(line->lastchar - line->buffer));
    return CC_REFRESH;
  }

  static unsigned char suspend(EditLine* el, int) {
    el_set(el, EL_PREP_TERM, 0);
    raise(SIGTSTP);
    el_set(el, EL_PREP_TERM, 1);
    return CC_REDISPLAY;
  }

  void remember(const std::string& line) {
    ::history(history.get(), &event, H_ENTER, line.c_str());
    ::history(history.get(), &event, H_SAVE, history_file.c_str());
  }

  fs::path history_file;
  std::string prompt;
  HistEvent event{};
  std::unique_ptr<History, CloseHistory> history;
  std::unique_ptr<EditLine, CloseEditor> editor;
};

LineReader::LineReader(fs::path history) {
  if (input_is_terminal() && output_is_terminal())
    editor_ = std::make_unique<Editor>(std::move(history));
}

LineReader::~LineReader() = default;

std::optional<std::string> LineReader::read(const std::string& prompt) {
  std::string line;
  if (!editor_) {
    if (!read_input_line(line, kLineLimit)) return {};
    return line;
  }
  editor_->prompt = prompt;
  int length = 0;
  const char* typed = el_gets(editor_->editor.get(), &length);
  if (!typed || length <= 0) return {};
  line.assign(typed, std::size_t(length));
  while (line.ends_with('\n') || line.ends_with('\r')) line.pop_back();
  if (line.find_first_not_of(" \t") != line.npos) editor_->remember(line);
  return line;
}

}  // namespace mlxcpp::apps
