// Standard output carries the product and nothing else; standard error carries the chatter.
#pragma once

#include <string>
#include <string_view>

namespace mlxcpp::apps {

/// To be called first: opens what is closed of the three standard files (so that no other file
/// takes their place), and turns the signals of a closed pipe and a full quota into write errors.
void prepare_standard_files();

/// Writes to standard output at once.  Throws OutputClosed when nobody reads it any more,
/// Interrupted after Ctrl-C while it would block, IoError for any other failure (a full disk).
void print(std::string_view text);

/// Writes to standard error; a failure there is of no interest.
void note(std::string_view text);

bool output_is_terminal();
bool chatter_is_terminal();
bool input_is_terminal();

/// Everything that standard input has.  Throws InputError beyond `limit` bytes, Interrupted.
std::string read_input(std::size_t limit);
/// The next line of standard input without its end; false at the end.  Throws likewise.
bool read_input_line(std::string& line, std::size_t limit);

}  // namespace mlxcpp::apps
