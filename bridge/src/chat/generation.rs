//! `{% generation %}` is transformers' own tag, which marks an assistant's words for training.  For
//! rendering it is a block that changes nothing, and minijinja would not know it.
use std::borrow::Cow;

/// Turns the tags into `{% if true %}` and `{% endif %}`; white space control is kept, and tags in
/// comments, raw blocks and strings are left alone.
pub fn rewrite(source: &str) -> Cow<'_, str> {
    if !source.contains("generation") {
        return Cow::Borrowed(source);
    }
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = next_tag(rest) {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = tag_end(rest);
        let tag = &rest[..end];
        rest = &rest[end..];
        if is_block(tag, "raw") {
            let end = raw_end(rest);
            out.push_str(tag);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        } else if is_block(tag, "generation") {
            out.push_str(&tag.replacen("generation", "if true", 1));
        } else if is_block(tag, "endgeneration") {
            out.push_str(&tag.replacen("endgeneration", "endif", 1));
        } else {
            out.push_str(tag);
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Where the next `{%`, `{{` or `{#` stands.
fn next_tag(text: &str) -> Option<usize> {
    let pairs = text.as_bytes().windows(2);
    pairs
        .into_iter()
        .position(|pair| matches!(pair, b"{%" | b"{{" | b"{#"))
}

/// The length of the tag at the start of `text`, up to its closing delimiter outside of strings; all
/// of the text when it is not closed.
fn tag_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (close, has_strings): (&[u8], bool) = match bytes[1] {
        b'%' => (b"%}", true),
        b'{' => (b"}}", true),
        _ => (b"#}", false),
    };
    let mut at = 2;
    while at < bytes.len() {
        if bytes[at..].starts_with(close) {
            return at + 2;
        }
        if has_strings && matches!(bytes[at], b'\'' | b'"') {
            at = string_end(bytes, at);
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// The place after the string that opens at `start`.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != bytes[start] {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// The length of a raw block's content; its closing tag is an ordinary one.
fn raw_end(text: &str) -> usize {
    let mut from = 0;
    while let Some(start) = text[from..].find("{%") {
        let start = from + start;
        if is_block(&text[start..start + tag_end(&text[start..])], "endraw") {
            return start;
        }
        from = start + 2;
    }
    text.len()
}

/// Whether the tag is `{% name %}`, with or without white space control.
fn is_block(tag: &str, name: &str) -> bool {
    let inner = tag
        .strip_prefix("{%")
        .and_then(|tag| tag.strip_suffix("%}"));
    inner.is_some_and(|inner| {
        let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
        let inner = inner.strip_suffix(['-', '+']).unwrap_or(inner);
        inner.trim() == name
    })
}

#[cfg(test)]
mod tests {
    use super::rewrite;

    #[test]
    fn generation_becomes_a_block_that_is_always_taken() {
        let source = "{%- generation -%}x{% endgeneration %}{% generation +%}y{%endgeneration%}";
        let expected = "{%- if true -%}x{% endif %}{% if true +%}y{%endif%}";
        assert_eq!(rewrite(source), expected);
    }

    #[test]
    fn tags_in_comments_strings_and_raw_blocks_stay() {
        for source in [
            "{# {% generation %} #}",
            "{{ '{% generation %}' }}",
            "{% if x == \"{% generation %}\\\"\" %}{% endif %}",
            "{% raw %}{% generation %}{% endraw %}",
            "generation {% generation",
            "{% set generation = 1 %}{{ generation }}",
        ] {
            assert_eq!(rewrite(source), source);
        }
    }
}
