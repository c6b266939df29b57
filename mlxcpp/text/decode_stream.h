// Turns ids into text as they arrive.  Text is held back until its UTF-8 is whole, so half a
// character is never seen.  All pieces and finish() joined equal Tokenizer::decode of all ids.
#pragma once

#include "mlxcpp/text/vocab.h"

#include <memory>
#include <string>

namespace mlxcpp::text {

/// One sequence's decoding state; get it from Tokenizer::decode_stream.  It shares the tokenizer's
/// immutable state, so it may outlive the Tokenizer.  Belongs to one thread at a time.
class DecodeStream {
 public:
  DecodeStream(DecodeStream&&) noexcept;
  DecodeStream& operator=(DecodeStream&&) noexcept;
  ~DecodeStream();

  /// The text that became certain with this id; often empty.
  std::string step(TokenId id);

  /// What was still held back; an unfinished character comes out as U+FFFD.  Empties the stream.
  std::string finish();

 private:
  friend class Tokenizer;
  struct Impl;
  explicit DecodeStream(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace mlxcpp::text
