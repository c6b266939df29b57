//! Hugging Face tokenizers and chat templates behind one cxx bridge.
//!
//! Every exported function that can fail returns a `Result` and runs inside `guard`, so that an
//! error or a panic reaches C++ as one kind of exception and nothing aborts the program.
mod chat;
mod decode_stream;
mod guard;
mod limits;
mod tokenizer;
mod vocabulary;

use anyhow::Result;
use chat::RsChatTemplate;
use decode_stream::RsDecodeStream;
use ffi::VocabSpec;
use guard::guard;
use tokenizer::RsTokenizer;

#[cxx::bridge(namespace = "mlxcpp::bridge")]
pub mod ffi {
    /// `offsets`: begin and end of each id, in bytes of the text.
    struct Encoding {
        ids: Vec<u32>,
        offsets: Vec<u32>,
        special: Vec<u8>,
    }

    /// A vocabulary without tokenizer.json.  Ids: -1 means not given.  Switches: 1 on, 0 off, -1 not
    /// given, so that the model's own default holds.
    struct VocabSpec {
        model: String,
        pre: String,
        tokens: Vec<String>,
        scores: Vec<f32>,
        kinds: Vec<i32>,
        merges: Vec<String>,
        charsmap: Vec<u8>,
        bos: i64,
        eos: i64,
        unk: i64,
        sep: i64,
        cls: i64,
        add_bos: i8,
        add_eos: i8,
        add_space_prefix: i8,
        remove_extra_whitespaces: bool,
    }

    /// A token that stands beside the vocabulary, with the id that it must have.
    struct AddedToken {
        content: String,
        id: u32,
        special: bool,
    }

    /// A conversation and how to render it: three JSON texts of which `tools` and `extra` may be
    /// empty, and tokens that are empty when the model has none.
    struct ChatRequest<'a> {
        messages: &'a str,
        tools: &'a str,
        extra: &'a str,
        bos_token: &'a str,
        eos_token: &'a str,
        add_generation_prompt: bool,
        continue_final_message: bool,
        enable_thinking: bool,
    }

    /// `refused`: the conversation does not fit the template, and `text` says why.
    struct Rendered {
        refused: bool,
        text: String,
    }

    extern "Rust" {
        type RsTokenizer;
        fn tokenizer_from_json(json: &[u8]) -> Result<Box<RsTokenizer>>;
        fn tokenizer_from_spec(spec: &VocabSpec) -> Result<Box<RsTokenizer>>;
        fn tokenizer_from_sentencepiece(
            model: &[u8],
            add_bos: i8,
            add_eos: i8,
        ) -> Result<Box<RsTokenizer>>;
        fn with_added_tokens(self: &RsTokenizer, tokens: &[AddedToken])
            -> Result<Box<RsTokenizer>>;
        fn encode(self: &RsTokenizer, text: &[u8], add_special: bool) -> Result<Encoding>;
        fn encode_ids(self: &RsTokenizer, text: &[u8], add_special: bool) -> Result<Vec<u32>>;
        fn decode(self: &RsTokenizer, ids: &[u32], skip_special: bool) -> Result<String>;
        fn vocab_size(self: &RsTokenizer) -> usize;
        fn token_to_id(self: &RsTokenizer, token: &str) -> i64;
        fn has_id(self: &RsTokenizer, id: u32) -> bool;
        fn id_to_token(self: &RsTokenizer, id: u32) -> Result<String>;
        fn is_special(self: &RsTokenizer, id: u32) -> bool;
        fn bos_id(self: &RsTokenizer) -> i64;
        fn eos_id(self: &RsTokenizer) -> i64;
        fn unk_id(self: &RsTokenizer) -> i64;

        type RsDecodeStream;
        fn decode_stream(self: &RsTokenizer, skip_special: bool) -> Box<RsDecodeStream>;
        fn step(self: &mut RsDecodeStream, id: u32) -> Result<String>;
        fn finish(self: &mut RsDecodeStream) -> Result<String>;

        type RsChatTemplate;
        fn chat_template(source: &str) -> Result<Box<RsChatTemplate>>;
        fn render(self: &RsChatTemplate, context_json: &str) -> Result<Rendered>;
        fn render_chat(self: &RsChatTemplate, request: &ChatRequest) -> Result<Rendered>;

        fn panic_for_test() -> Result<()>;
    }
}

fn tokenizer_from_json(json: &[u8]) -> Result<Box<RsTokenizer>> {
    guard(|| RsTokenizer::from_json(json).map(Box::new))
}

fn tokenizer_from_spec(spec: &VocabSpec) -> Result<Box<RsTokenizer>> {
    guard(|| RsTokenizer::from_spec(spec).map(Box::new))
}

fn tokenizer_from_sentencepiece(
    model: &[u8],
    add_bos: i8,
    add_eos: i8,
) -> Result<Box<RsTokenizer>> {
    guard(|| {
        let mut spec = vocabulary::sentencepiece::parse(model)?;
        spec.add_bos = add_bos;
        spec.add_eos = add_eos;
        RsTokenizer::from_spec(&spec).map(Box::new)
    })
}

fn chat_template(source: &str) -> Result<Box<RsChatTemplate>> {
    guard(|| RsChatTemplate::new(source).map(Box::new))
}

/// Lets a C++ test see what becomes of a panic.
fn panic_for_test() -> Result<()> {
    guard(|| panic!("on purpose"))
}
