"""What looks equal is equal, and text without spaces is cut into characters."""

import hashlib
import sys
import unicodedata

import pytest

from study.language.scores import ngrams
from study.language.scores.words import words
from study.runs.source import Source
from study.sources.content import Access

FRENCH = "Le élève a reçu à Noël une pièce où l'été était très élevé"


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_a_normal_form_is_no_difference(form):
    assert words(unicodedata.normalize(form, FRENCH)) == FRENCH.lower().replace("'", " ").split()
    for text in ("한국어 문장", "Việt Nam đẹp", "がぎぐ", "ﬁn", "क़लम", "Ǻngström"):
        assert words(unicodedata.normalize(form, text)) == words(text)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("Ｔｈｅ ｑｕｉｃｋ　fox", "the quick fox"),
        ("ｶﾞﾗｽ", "ガ ラ ス"),
        ("oﬃce ﬁnds 𝐁old x²", "office finds bold x2"),
        ("extra\u00adordinary zero\u200bwidth \ufeffmark", "extraordinary zerowidth mark"),
        ("extra\u00ad\nordinary", "extraordinary"),
        ("می\u200cخواهم كتاب كبير", "میخواهم کتاب کبیر"),
        ("e\u034f\u0301te", "éte"),
        ("Straße STRASSE ΣΟΦΟΣ σοφος", "strasse strasse σοφοσ σοφοσ"),
        ("\u0390 \u03aa\u0301 \u0399\u0308\u0301", "\u0390 \u0390 \u0390"),
        ("İSTANBUL istanbul IŞIK ışık", "istanbul istanbul işik işik"),
        ("Bucureşti București", "bucureşti bucureşti"),
        ("സ്വന്തം അവൻ അവന്\u200d", "സ്വന്തം അവന് അവന്"),
        ("don't don’t don´t donʼt don＇t", "don t don t don t don t don t"),
        ("“said” &quot;no&quot; &amp;quot;so&amp;quot; a&nbsp;b AT&amp;T", "said no so a b at t"),
        ("x=1&para=2 x=1&amp;para=2 &unheard;", "x 1 para 2 x 1 para 2 unheard"),
        ("one<br />two&lt;br&gt;three snake_case", "one two three snake case"),
        ("Brand™ costs 5 €, a‑b … c", "brand costs 5 a b c"),
        ("یہ सत्य है।", "یہ सत्य है"),
    ],
)
def test_right_values(text, right):
    assert words(text) == right.split()


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("北京大学，图书馆", ["北", "京", "大", "学", "图", "书", "馆"]),
        ("用GPT-4模型 训练iPhone15", ["用", "gpt", "4", "模", "型", "训", "练", "iphone15"]),
        ("2024年ラーメン・日々", ["2024", "年", "ラ", "ー", "メ", "ン", "日", "々"]),
        ("葛\U000e0100城 ⼈", ["葛", "城", "人"]),
        ("กินน้ำabc", ["กิ", "น", "น้ํ", "า", "abc"]),
        ("ພາສາ", ["ພ", "າ", "ສ", "າ"]),
        ("မြန်မာ", ["မြ", "န်", "မာ"]),
        ("ខ្មែរ\u200bភាសា", ["ខ្", "មែ", "រ", "ភា", "សា"]),
        ("한국어 문장", ["한국어", "문장"]),
    ],
)
def test_scripts_without_spaces_are_cut_into_characters_with_their_marks(text, right):
    assert words(text) == [unicodedata.normalize("NFKC", each) for each in right]


def test_marks_of_other_scripts_do_not_cut():
    hindi = "यह एक बहुत लंबा वाक्य है जिसमें तेरह से अधिक शब्द हैं और यह प्रशिक्षण में है"
    assert words(hindi) == hindi.split()
    for text in ("தமிழ் மொழி", "العَرَبِيَّة", "שָׁלוֹם עולם"):
        assert len(words(text)) == len(text.split())


def test_ascii_is_read_as_any_other_text_is():
    """The short way that ASCII takes gives what the long one gives."""
    text = "".join(map(chr, range(128))) + " It's 3.5 <BR> x_y & A&lt;B &#39;t&#x41;"
    assert [*words(text), "é"] == words(text + " é")


def test_words_of_words_are_the_same():
    letters = map(chr, [*range(0x3400), *range(0xA000, 0xAC00), *range(0xF900, 0x10000)])
    wrong = [each for each in letters if words(" ".join(words(each))) != words(each)]
    assert wrong == []


def test_a_character_of_no_width_is_dropped_wherever_it_stands():
    """All of Unicode's format characters but those that are shown, or mark what is."""
    for code in range(sys.maxunicode + 1):
        if unicodedata.category(chr(code)) == "Cf":
            found = words(f"ab{chr(code)}cdé")
            shown = code in range(0x600, 0x606) or code in (0x6DD, 0x70F, 0x890, 0x891, 0x8E2)
            shown |= 0xFFF9 <= code <= 0xFFFB or code in (0x110BD, 0x110CD)
            shown |= 0x13430 <= code <= 0x1343F
            assert found == (["ab", "cdé"] if shown else ["abcdé"]), hex(code)


def test_a_row_without_a_word_excludes_nothing(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text": "?!"}\n{"text": "One, two"}\n')
    digest = hashlib.sha256((tmp_path / "rows.jsonl").read_bytes()).hexdigest()
    rows = Source(
        uri="file://rows.jsonl", digest=f"sha256:{digest}", text_field="text", where=(), part=None
    )
    access = Access(data_dirs=(tmp_path,), cache=tmp_path / "cache", offline=True)
    excluded = ngrams.excluded_texts([rows], access=access)
    assert list(ngrams.without(["...", "one two", "😀"], excluded)) == ["...", "😀"]


def test_a_document_is_an_excluded_text_however_it_is_written():
    nfc, nfd = (unicodedata.normalize(form, FRENCH) for form in ("NFC", "NFD"))
    excluded = frozenset({ngrams._key(nfc), ngrams._key("图书馆 2024")})
    told = [nfd, "图 书\u200b馆\n２０２４", FRENCH.replace("é", "e")]
    assert list(ngrams.without(told, excluded)) == told[2:]
