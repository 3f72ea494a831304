"""Answers: quoted or written, cited to the character, checked, and honest where there is nothing."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest

import sage_nb as sage
from sage_nb.errors import BadValueError, UnknownNameError
from sage_nb.models.generator import GENERATORS
from sage_nb.models.registry import CROSS_ENCODERS
from sage_nb.models.untrained import untrained_cross_encoder
from sage_nb.records.codec import decode, encode
from sage_nb.retrieval.answer import NOTHING
from sage_nb.retrieval.citations import REFUSAL
from sage_nb.runtime.cellcache.store import CellCache
from tests.models.chat_server import echoes, refuses, serving
from tests.retrieval.laws import animals, check_laws, given, run_cached

MOON = "The Moon circles the Earth in 27 days. Tides follow it. Nobody lives there."
SUN = "The Sun is a star. Light from it takes 8 minutes to the Earth. Plants need it."
FOUND = given(("moon", MOON), ("sun", SUN))


@pytest.fixture
def own(monkeypatch):
    """A generator that says what it is given to say, for one test; what it was asked lies in `own.asked`."""

    def say(*texts, name="own"):
        left = list(texts)

        def speak(conversation):
            say.asked.append(conversation)
            return left.pop(0) if len(left) > 1 else left[0]

        monkeypatch.setitem(GENERATORS, name, speak)
        return name

    say.asked = []
    return say


@pytest.mark.parametrize("how", [{}, {"style": "list", "k": 2}, {"cite": False, "max_tokens": 9}])
def test_the_laws_hold_of_quoted_answers(tmp_path, how):
    found = check_laws(tmp_path, sage.answer(**how))
    assert all(result.answer.text for result in found)
    assert found[-1].answer.text == NOTHING


@sage.generator("teller of tales")
def told(conversation):
    return f"They met, {len(conversation[-1].content)} times [1]. They sang [9]."


@pytest.mark.parametrize("how", [{}, {"style": "long", "k": 2, "cite": False}])
def test_the_laws_hold_of_written_answers(tmp_path, how):
    found = check_laws(tmp_path, sage.answer("teller of tales", **how))
    assert all(result.answer.by == "teller of tales" for result in found[:-1])
    assert found[-1].answer.text == NOTHING


def test_a_server_and_a_local_model_are_written_as_yaml_without_their_key():
    chat = sage.OpenAIChat("http://localhost:1/v1", "m", api_key_env="KEY")
    for generator in (chat, sage.TransformersChat("folder", seed=3), sage.Extractive(sentences=3)):
        pipe = FOUND >> sage.answer(generator, k=3)
        text = sage.answer(generator, k=3).to_yaml()
        assert sage.Stage.from_yaml(text) == pipe.second


def test_an_extractive_answer_is_the_sentence_that_answers_with_its_place():
    result = (FOUND >> sage.answer(style="short")).search("how many days does the moon take round the earth?")
    answer = result.answer
    assert answer.text.startswith("The Moon circles the Earth in 27 days. [1]")
    assert answer.citations[0] == sage.Citation("moon", 0, 38, 1, "The Moon circles the Earth in 27 days.")
    assert [each.document.id for each in result.hits] == ["moon", "sun"]
    assert "the bundled encoder and shared words" in answer.by
    assert not answer.unsupported


def test_citations_are_characters_of_the_original_documents(tmp_path):
    whole = sage.Document("book", f"# Sky\n\n{SUN} It is hot.\n\n{MOON} It is  cold.", title="Sky")
    book = sage.Collection(str(tmp_path / "sky"), encoder=None)
    book.add([whole], chunk=sage.chunk(20, overlap=5), progress=False)
    assert len(list(book.documents())) > 1, "it must have been cut"
    answer = (book.lexical(5) >> sage.answer(style="long")).search("is the moon cold? do plants need light?").answer
    assert len(answer.citations) > 1
    for each in answer.citations:
        assert each.document == "book"
        assert whole.text[each.start : each.end] == each.quote != ""


def test_only_what_is_kept_of_a_passage_is_quoted_or_shown(own):
    def kept(result):
        spans = ((MOON.index("Tides"), MOON.index("Nobody") - 1),)
        return msgspec.structs.replace(result, hits=(msgspec.structs.replace(result.hits[0], spans=spans),))

    quoted = (FOUND >> kept >> sage.answer()).search("how many days does the moon take?").answer
    assert quoted.text == "Tides follow it. [1]"
    assert quoted.citations[0].start == MOON.index("Tides")
    (FOUND >> kept >> sage.answer(own("Tides follow it [1]."))).search("moon?")
    assert "[1]\nTides follow it.\n" in own.asked[0][-1].content
    assert "27" not in own.asked[0][-1].content


def test_a_question_and_a_heading_answer_nothing_unless_there_is_nothing_else():
    asked = given(("faq", "# How far is the moon\n\nHow far is the moon? It is far."))
    assert (asked >> sage.answer()).search("how far is the moon?").answer.text == "It is far. [1]"
    only = given(("faq", "How far is the moon?"))
    assert (only >> sage.answer()).search("how far is the moon?").answer.text == "How far is the moon? [1]"


def test_what_two_passages_say_alike_is_said_once():
    twice = given(("a", SUN), ("b", SUN), ("c", MOON))
    answer = (twice >> sage.answer(style="long")).search("how many minutes does light take?").answer
    assert answer.text.count("8 minutes") == 1


def test_what_overlapping_passages_share_is_quoted_once(tmp_path):
    book = sage.Collection(tmp_path / "book", encoder=None)
    text = "The coordinator asks each source to send a barrier to all. Nobody else may send one, at any time."
    book.add([sage.Document("b", text)], chunk=sage.chunk(12, overlap=4), progress=False)
    answer = (book.lexical(9) >> sage.answer(style="long")).search("who asks to send a barrier?").answer
    spans = sorted((each.start, each.end) for each in answer.citations)
    assert len(spans) > 1
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_max_tokens_and_sentences_limit_a_quoted_answer():
    text = " ".join(f"The moon has crater number {n} on it." for n in range(30))
    moon = given(("m", text), ("long", "moon " * 300))
    short = (moon >> sage.answer(max_tokens=10, style="long")).search("moon crater").answer
    assert len(short.text.split()) <= 11
    assert short.citations
    many = (moon >> sage.answer(sage.Extractive(sentences=7))).search("moon crater").answer
    assert len(many.citations) <= 7


def test_a_reranker_scores_sentences_where_one_is_at_hand_and_that_is_said(tmp_path, monkeypatch):
    class Longest:
        name, fingerprint, truncated = "longest", "1", 0

        def score(self, pairs):
            import numpy as np

            return np.array([len(text) for _, text in pairs], np.float32)

    monkeypatch.setitem(CROSS_ENCODERS, "longest", Longest)
    answer = (FOUND >> sage.answer(sage.Extractive("longest", 1))).search("do plants need it?").answer
    assert answer.text == "Light from it takes 8 minutes to the Earth. [2]"
    assert answer.by == "Extractive (the reranker 'longest')"
    default = sage.Extractive().fingerprint
    real = sage.Extractive(untrained_cross_encoder(tmp_path))
    assert default != real.fingerprint
    assert (FOUND >> sage.answer(real)).search("do plants need it?").answer.citations


def test_nothing_found_is_said_and_nobody_is_asked(own):
    empty = given()
    result = (empty >> sage.answer(own("x"))).search("who?")
    assert result.answer == sage.Answer(NOTHING)
    assert own.asked == []
    without = empty >> (lambda result: msgspec.structs.replace(result, missing=("papers",))) >> sage.answer()
    assert without.search("who?").answer.text == f"{NOTHING} Not asked: papers."


def test_a_written_answer_is_checked_claim_by_claim(own):
    text = (
        "The Moon circles the Earth in 27 days [1]. Light takes 9 minutes [2]. Cows fly to Paris [1]. Plants need it."
    )
    result = (FOUND >> sage.answer(own(text))).search("moon?")
    answer = result.answer
    assert answer.text == text
    assert [text[start:end] for start, end in answer.unsupported] == [
        "Light takes 9 minutes [2].",
        "Cows fly to Paris [1].",
    ]
    assert [each.quote for each in answer.citations] == ["The Moon circles the Earth in 27 days."]
    assert result.notes == ("2 of 4 claims of the answer have no passage that supports them",)


def test_an_invented_number_is_marked_and_told_and_cited_by_nobody(own):
    result = (FOUND >> sage.answer(own("Plants need it [2][7]. The Sun is a star [0]."))).search("sun?")
    assert result.answer.text == "Plants need it [2][?]. The Sun is a star [?]."
    assert result.answer.citations == ()
    assert len(result.answer.unsupported) == 2
    assert result.notes[0] == "the answer cites 7, 0 (marked [?]), and there is no such passage"


def test_that_the_passages_do_not_answer_is_no_unsupported_claim(own):
    result = (FOUND >> sage.answer(own(REFUSAL))).search("who won?")
    assert (result.answer.text, result.answer.unsupported, result.notes) == (REFUSAL, (), ())


def test_without_citations_the_text_stays_as_it_was_written(own):
    result = (FOUND >> sage.answer(own(" It is [9] so. "), cite=False)).search("who won?")
    assert (result.answer.text, result.answer.citations, result.notes) == ("It is [9] so.", (), ())
    assert "Do not mention the passages" in own.asked[0][0].content


@pytest.mark.parametrize("gives", ["", " \n", None])
def test_a_generator_that_gives_nothing_leaves_the_ranking_and_says_so(own, tmp_path, gives):
    pipe = FOUND >> sage.answer(own(gives))
    result = pipe.search("moon?")
    assert result.answer is None
    assert len(result.hits) == 2
    assert result.missing == ("an answer by own",)
    assert "the generator 'own' gave" in result.notes[0]
    cache = CellCache(tmp_path / "cache")
    try:
        run_cached(pipe, cache), run_cached(pipe, cache)
    finally:
        cache.close()
    assert len(own.asked) == 1 + 2 * 8, "it is asked again: what failed is not kept"


def test_a_server_answers_many_questions_and_one_refusal_costs_one_answer(tmp_path):
    def turn(handler):
        asked = handler.server.asked[-1]["messages"][-1]["content"]
        (refuses(400) if "Question: bee" in asked else echoes)(handler)

    questions = ["ant", "bee", "cat"]
    with serving(turn) as server:
        chat = sage.OpenAIChat(server.url, "m", concurrency=1, max_tokens=7)
        run = (animals(tmp_path).lexical(3) >> sage.answer(chat, k=1, max_tokens=3)).run(questions)
        texts = [result.answer and result.answer.text for result in run.results]
        assert [each["max_tokens"] for each in server.asked] == [3, 3, 3]
    assert texts[1] is None
    assert [f"Question: {word}" in text for word, text in zip(questions, texts, strict=True) if text] == [True, True]
    assert "HTTP 400" in run.results[1].notes[0]
    assert len(run.results[1].hits) == 3


def test_a_prompt_of_ones_own_is_used_and_counts_for_the_cache(own, tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("[user]\nSay $style about $question with $passages", encoding="utf8")
    reply = sage.answer("teller of tales", prompt=str(path))
    before = reply.identity().digest
    (FOUND >> sage.answer(own("x"), prompt=str(path))).search("the moon?")
    (message,) = own.asked[0]
    assert message.content.startswith("Say Answer in one or two sentences. about the moon? with [1]\nThe Moon")
    path.write_text("[user]\nNow $style about $question with $passages", encoding="utf8")
    assert reply.identity().digest != before


def test_what_the_words_depend_on_is_computed_anew_and_nothing_else(own, tmp_path):
    cache = CellCache(tmp_path / "cache")
    book = animals(tmp_path).lexical(5)

    def computed(stage):
        stages = run_cached(book >> stage, cache).stages
        return [each["computed"] > 0 for each in stages.values()][-2:]

    try:
        assert computed(sage.answer(own("one"))) == [True, True]
        assert computed(sage.answer(own("one"), k=4)) == [False, True]
        assert computed(sage.answer(own("one", name="other"))) == [False, True]
        assert computed(sage.answer(style="list")) == [False, True]
        assert computed(sage.answer(style="list")) == [False, False]
    finally:
        cache.close()


def test_a_generator_that_cannot_be_opened_ends_the_run_with_its_sentence(monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    pipe = FOUND >> sage.answer(sage.OpenAIChat("http://localhost:1/v1", "m", api_key_env="NO_SUCH_KEY"))
    with pytest.raises(sage.GeneratorError, match="environment variable 'NO_SUCH_KEY', which is not set"):
        pipe.search("moon?")
    with pytest.raises(sage.ModelError, match="is neither a folder nor in the local hub cache"):
        (FOUND >> sage.answer(sage.TransformersChat("no/such-model"))).search("moon?")


def test_a_giant_passage_is_read_to_a_limit(own):
    giant = given(("giant", "The moon is far. " * 60_000))
    (giant >> sage.answer(own("Far [1]."))).search("moon?")
    assert len(own.asked[0][-1].content) < 7_000
    assert (giant >> sage.answer()).search("how far is the moon?").answer.text == "The moon is far. [1]"


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: sage.answer("nobody"), UnknownNameError, "unknown generator 'nobody'"),
        (lambda: sage.answer(3), BadValueError, "a generator is a Generator or the name of a registered one, got 3"),
        (lambda: sage.answer(style="shrt"), UnknownNameError, "unknown style 'shrt'; did you mean 'short'"),
        (lambda: sage.answer(k=0), BadValueError, r"answer\(\) needs k, a whole number of 1 or more, got 0"),
        (lambda: sage.answer(cite="yes"), BadValueError, r"cite= of answer\(\) is True or False, got 'yes'"),
        (lambda: sage.answer(max_tokens=0), BadValueError, "max_tokens must be a whole number of 1 or more, got 0"),
        (lambda: sage.answer(prompt="answer"), BadValueError, r"Extractive\(\) has no use for it"),
        (lambda: sage.Extractive(sentences=0), BadValueError, r"sentences= of Extractive\(\) must be a whole number"),
        (lambda: sage.answer(sage.OpenAIChat("http://h/v1", "m"), prompt="nope"), UnknownNameError, "unknown prompt"),
        (
            lambda: sage.answer(sage.OpenAIChat("http://h/v1", "m"), prompt="condense"),
            BadValueError,
            r"the prompt 'condense' has a place \$history that nothing fills",
        ),
    ],
)
def test_arguments_that_make_no_sense_are_refused_when_the_stage_is_built(make, error, said):
    with pytest.raises(error, match=said):
        make()


def test_a_function_of_ones_own_takes_no_limit(own):
    with pytest.raises(BadValueError, match="the generator 'own' sets its own limit; leave max_tokens out"):
        sage.answer(own("x"), max_tokens=5)


def test_a_run_has_its_answers_and_is_shown_with_them(own, tmp_path):
    run = (animals(tmp_path).lexical(3) >> sage.answer(own("Met [1]. ", ""))).run(["ant", "bee", "unheard of"])
    run.job.wait()
    assert {name: answer.text for name, answer in run.answers.items()} == {"q1": "Met [1].", "q3": NOTHING}
    assert len(run.to_pandas()) == 6
    assert "Met [1]." in run._repr_html_()


HOSTILE = "<script>alert(1)</script> & \"so\" 'on' \x00"


def test_a_result_shows_its_answer_first_with_what_it_cites_and_runs_nothing(own):
    hostile = given((f"id{HOSTILE}", f"{HOSTILE} is what it says here."))
    result = (hostile >> sage.answer(own(f"{HOSTILE} is what it says [1]. Cows fly.\n\n{HOSTILE} [5]."))).search(
        HOSTILE
    )
    html = result._repr_html_()
    assert "<script" not in html
    assert "\x00" not in html
    assert html.index("sage-answer") < html.index("<table")
    assert "<u title=" in html
    assert "<sup title='&lt;script&gt;" in html
    text = str(result)
    assert "Cows fly. (unsupported)" in text
    assert text.index("Cows fly") < text.index("  1. ")
    assert decode(encode(result), type(result)) == result
