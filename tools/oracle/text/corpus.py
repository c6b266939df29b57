"""Texts in many scripts: what the small tokenizers are trained on and what they are tested with."""

SAMPLES = [
    "The quick brown fox doesn't jump over 12,345 lazy dogs; it's I'LL we'd they've YOU'RE.",
    "Größe, Maß und Straßenbahnübergang — „Zitat“ für 3,14 €.",
    "L'été où j'ai mangé une crêpe à l'île d'Oléron, ça va ?",
    "¿Dónde está el niño? ¡Aquí! Año 2024, pingüino.",
    "İstanbul'da ılık bir gün, ğüşiöç.",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.",
    "هذا نص عربي مع تشكيلٍ وأرقام ١٢٣٤ و علامات؟",
    "דג סקרן שט בים מאוכזב ולפתע מצא לו חברה.",
    "हिन्दी में एक वाक्य — क्षत्रिय, ज्ञान, श्री १२३।",
    "தமிழ் மொழி மிகவும் பழமையானது.",
    "ภาษาไทยไม่มีการเว้นวรรคระหว่างคำ",
    "我能吞下玻璃而不伤身体。今天是2024年5月1日，天气很好！",
    "私はガラスを食べられます。カタカナ、ひらがな、漢字、ﾊﾝｶｸ。",
    "나는 유리를 먹을 수 있어요. 그래도 아프지 않아요",
    "\u1112\u1161\u11ab\u1100\u1173\u11af e\u0301 \u0301 A\u030a",
    "∀x∈ℝ: ⌈x⌉ = −⌊−x⌋, 𝔘𝔫𝔦 ½ ² ﬁ",
    "😀👍🏽👩‍👩‍👧‍👦🏳️‍🌈🇩🇪❤️‍🔥 1️⃣ 🤷🏾‍♀️",
    "a  b   c    d\te\t\tf \n g\r\nh\u00a0i\u2003j\u200bk\u2028l\u3000n\ufeffo",
    "\x00\x01\x02bell\x07 esc\x1b[31mred\x1b[0m del\x7f \x85 \xad soft \ue000\uffff",
    "<s>hi</s> <|im_start|>user\nhey<|im_end|> [CLS] [MASK] <unk> <0x0A> ▁x ▁▁ Ġy",
    "0 1 12 123 1234 12345 1,234.56 -7e-10 0xDEADBEEF ١٢٣ १२३ ⅷ 12345678901234567890",
    "!!! ??? ... --- ___ ((())) [[]] {{}} <<>> `` '' \"\" && || \\\\ // @@ ## $$ %% ++ ==",
    "HELLO Hello hELLO camelCaseString snake_case SCREAMING_SNAKE XMLHttp I'M it'S ǅ ß ẞ ſ",
    "https://example.com/a/b?c=d&e=f#g user@mail.example.org C:\\Windows\\System32",
    "def f(x: int) -> list[str]:\n    return [f'{i:>3}' for i in range(x)]  # comment\n\n\tif (a&&b||!c) {}",
    '{"a": [1, 2.5e-3, null, true], "b": {"c": "\\u00e9\\n"}}',
    "# T\n\n- a\n  - b\n\n| x | y |\n|---|---|\n```py\nprint(1)\n```",
]

EDGES = [
    "", " ", "  ", "   ", "\n", "\n\n", "\t", " \n", "\r\n", "a", " a", "a ", " a ", "  a  ", "▁", " ▁ ",
    "\u200d", "\ufeff", "\ufffd", "a\ufffd\ufffdb", "Hello\n\n\n\nworld", " " * 40, "\n" * 20, "ab" * 30,
    "😀" * 8, "é" * 20, "x" * 120, "foo<s>bar", " <s> bar", "<s> <s>", "don't DON'T", "a\x00b",
    "<|im_start|>system\nx<|im_end|>\n", "Hello world", "Hello, world! How are you?",
]  # fmt: skip

BROKEN = [
    b"\xff", b"\xc3", b"a\xc3(b", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\xaf",
    b"ok\xf8\x88\x80\x80\x80ok", b"\xf0\x9f\x98\x80\xf0\x9f",
]  # fmt: skip

TEXTS = [text.encode() for text in SAMPLES + EDGES] + BROKEN

# Words repeat, so that training finds merges.
TRAINING = [
    "the cat sat on the mat and the dog sat on the log while other cats and dogs were sitting there",
    "Hello world, hello there. How are you today? I am fine, thank you. What is the capital of France?",
    "user assistant system hello hello the the and of to in is you that it was for on are as with his",
    "12 123 1234 2024 2023 100 1000 10 20 30",
    "def return import for in range if else while class self print True False None\n    \n        ",
] * 6 + SAMPLES * 2
