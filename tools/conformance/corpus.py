"""2,019 texts: 45 kinds of writing, edges, white space, mixtures, any Unicode, source code, and 69
that are not UTF-8.  The same on every run."""

import random
from pathlib import Path

import transformers

SAMPLES = [
    "The quick brown fox doesn't jump over 12,345 lazy dogs; it's I'LL we'd they've YOU'RE.",
    "Größe, Maß und Straßenbahnübergang — „Zitat“ für 3,14 €.",
    "L'été où j'ai mangé une crêpe à l'île d'Oléron, ça va ?",
    "¿Dónde está el niño? ¡Aquí! Año 2024, pingüino.",
    "Zażółć gęślą jaźń i źdźbło.",
    "İstanbul'da ılık bir gün, ğüşiöç.",
    "Tiếng Việt có dấu: ắ ằ ẳ ẵ ặ",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "Жебракують філософи при ґанку церкви в Гадячі.",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.",
    "هذا نص عربي مع تشكيلٍ وأرقام ١٢٣٤ و علامات؟",
    "پارسی می‌نویسم با نیم‌فاصله.",
    "דג סקרן שט בים מאוכזב ולפתע מצא לו חברה.",
    "हिन्दी में एक वाक्य — क्षत्रिय, ज्ञान, श्री १२३।",
    "আমার সোনার বাংলা, আমি তোমায় ভালোবাসি।",
    "தமிழ் மொழி மிகவும் பழமையானது.",
    "తెలుగు భాష అందమైనది.",
    "ภาษาไทยไม่มีการเว้นวรรคระหว่างคำ",
    "ພາສາລາວ",
    "မြန်မာဘာသာစကား",
    "ភាសាខ្មែរ",
    "ქართული ენა",
    "Հայերեն լեզու",
    "አማርኛ ቋንቋ",
    "བོད་སྐད།",
    "ᠮᠣᠩᠭᠣᠯ ᠪᠢᠴᠢᠭ",
    "ⲘⲉⲧⲢⲉⲙ̀ⲛⲭⲏⲙⲓ 𐌼𐌰𐌲 𐌲𐌻𐌴𐍃 𐌹̈𐍄𐌰𐌽",
    "我能吞下玻璃而不伤身体。今天是2024年5月1日，天气很好！",
    "臺灣繁體中文測試：龍龜鬱。",
    "私はガラスを食べられます。カタカナ、ひらがな、漢字、ﾊﾝｶｸ。",
    "나는 유리를 먹을 수 있어요. 그래도 아프지 않아요",
    "\u1112\u1161\u11ab\u1100\u1173\u11af e\u0301 \u0301 A\u030a ế",
    "∀x∈ℝ: ⌈x⌉ = −⌊−x⌋, 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝓯𝓪𝓷𝓬𝔂 ½ ¾ ² ³ ﬁ ﬂ",
    "😀👍🏽👩‍👩‍👧‍👦🏳️‍🌈🇩🇪🇯🇵❤️‍🔥☺︎☺️ 1️⃣ 🤷🏾‍♀️",
    "a  b   c    d\te\t\tf \n g\r\nh\u00a0i\u2003j\u200bk\u2028l\u2029m\u3000n\ufeffo",
    "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘!͖̬̰̙",
    "\x00\x01\x02bell\x07 esc\x1b[31mred\x1b[0m del\x7f \x85 \xad soft",
    "\ue000\uf8ff\U000f0000\U0010fffd\ufffd\ufffe",
    "<s>hi</s> <|im_start|>user\nhey<|im_end|> [CLS] [MASK] [SEP] <unk> <pad> <|endoftext|> <bos> "
    "<start_of_turn> <0x0A> ▁x ▁▁ Ġy <|eot_id|>",
    "0 1 12 123 1234 12345 123456 1,234.56 -7e-10 0xDEADBEEF 3.14159 ١٢٣ १२३ ⅷ Ⅻ 12345678901234567890",
    "!!! ??? ... --- ___ *** ((())) [[]] {{}} <<>> `` '' \"\" ~~ ^^ && || \\\\ // @@ ## $$ %% ++ ==",
    "HELLO Hello hELLO camelCaseString snake_case SCREAMING_SNAKE XMLHttp I'M it'S WE'VE ǅ ß ẞ İ ı ſ",
    "https://example.com/a/b?c=d&e=f#g user@mail.example.org C:\\Windows\\System32",
    "def f(x: int) -> list[str]:\n    return [f'{i:>3}' for i in range(x)]  # comment\n\n\tif (a&&b||!c) { x += 1; }",
    '{"a": [1, 2.5e-3, null, true], "b": {"c": "\\u00e9\\n"}}\n# T\n\n- a\n  - b\n\n| x | y |\n|---|---|',
]

EDGES = [
    "", " ", "  ", "   ", "\n", "\n\n", "\t", " \n", "\r\n", "a", " a", "a ", " a ", "  a  ", "▁", " ▁ ", "\u200d",
    "\u0301", "e\u0301", "\ufeff", "Hello\n\n\n\nworld", "x" * 300, " " * 300, "\n" * 60, "ab" * 400, "😀" * 60,
    "é" * 100, "<|im_start|>", "<|im_start|>system\nx<|im_end|>\n", "</s></s>", "<s> <s>", "foo<s>bar",
    " <s> bar", "don't", "DON'T", "1 2 3", "a\x00b",
]  # fmt: skip

BROKEN = [
    b"\xff", b"\xc3", b"a\xc3(b", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\xaf",
    b"ok\xf8\x88\x80\x80\x80ok", b"\xf0\x9f\x98\x80\xf0\x9f",
]  # fmt: skip

SPACES = [" ", "  ", "\n", "\t", "a", "bc", "\r\n", "\u00a0", "\u3000", ".", "1", "中"]
RANGES = [(32, 126)] * 3 + [(0x80, 0x2FFF)] * 3 + [(0x3000, 0xD7FF)] * 2 + [(0xE000, 0xFFFF), (0x10000, 0x1FBFF)]
TOTAL, BROKEN_TOTAL = 2019, 69


def pieces(rng):
    parts = []
    for _ in range(rng.randint(1, 4)):
        sample = rng.choice(SAMPLES)
        start = rng.randrange(len(sample))
        parts.append(sample[start : rng.randint(start + 1, len(sample))])
    return rng.choice([" ", "", " ", "\n", "  "]).join(parts)


def any_unicode(rng):
    return "".join(chr(rng.randint(*rng.choice(RANGES))) for _ in range(rng.randint(1, 40)))


def source_lines(rng):
    folder = Path(transformers.__file__).parent / "generation"
    lines = [line for file in sorted(folder.glob("*.py"))[:4] for line in file.read_text(encoding="utf-8").split("\n")]
    return rng.sample(lines, 200)


def broken(rng):
    text = bytearray(rng.choice(SAMPLES).encode())
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(text))
        change = rng.choice(["replace", "remove", "insert"])
        if change == "replace":
            text[at] = rng.randint(0x80, 0xFF)
        elif change == "remove":
            del text[at]
        else:
            text.insert(at, rng.choice([0xC0, 0xF5, 0xFF, 0xED, 0xE2, 0x80, 0xBF]))
    return bytes(text)


def is_utf8(raw):
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def corpus():
    rng = random.Random(7)
    texts = SAMPLES + EDGES
    texts += ["".join(rng.choice(SPACES) for _ in range(rng.randint(1, 30))) for _ in range(150)]
    texts += [any_unicode(rng) for _ in range(250)]
    texts += source_lines(rng)
    while len(texts) < TOTAL - BROKEN_TOTAL:
        texts.append(pieces(rng))
    raws = list(BROKEN)
    while len(raws) < BROKEN_TOTAL:
        raw = broken(rng)
        if not is_utf8(raw):
            raws.append(raw)
    return [text.encode("utf-8") for text in texts] + raws
