"""What a tokenizer and a chat template may do wrong is refused or said when prompts are prepared."""

from __future__ import annotations

import json
import shutil

import pytest
from refusals import refused, says

from longspec.models import model_files


def test_an_id_beyond_the_embeddings_is_found_before_a_job_meets_it(prepared, model):
    tokenizer = model_files.tokenizer(model)
    more = model.parent / "more"
    shutil.copytree(model, more)
    tokenizer.add_tokens(["!"])
    tokenizer.save_pretrained(more)
    rows = [{"id": "x", "q": "a"}, {"id": "y", "q": "a!"}]
    with refused("dataset d, sample y", ("'!'", len(tokenizer) - 1), len(tokenizer) - 1):
        prepared(rows, model=more)
    with refused("dataset d, sample z", ("'!'", len(tokenizer) - 1), len(tokenizer) - 1):
        prepared([{"id": "z", "t": ["a", "b!"]}], model=more, turns_field="t")


@pytest.fixture
def talking(model, tmp_path):
    """Make a copy of the model with a chat template of its own."""

    def make(template, **said):
        place = shutil.copytree(model, tmp_path.with_name(f"{tmp_path.name}-talking"), dirs_exist_ok=True)
        (place / "chat_template.jinja").write_text(template, encoding="utf-8")
        for name in ("config.json", "generation_config.json"):
            known = json.loads((place / name).read_text())
            (place / name).write_text(json.dumps({**known, **said}))
        return place

    return make


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ("{{ messages[0]['content'] }}", "'cd'"),
        ("{{ messages[0]['content'] if messages | length == 1 else raise_exception('one alone') }}", "one alone"),
    ],
)
def test_what_a_later_turn_would_meet_is_found_before_a_job_does(prepared, talking, template, found):
    place = talking(template)
    with refused(str(place), found, "chat"):
        prepared([{"id": "x", "t": ["ab", "cd"]}], model=place, chat=True, turns_field="t")
    assert prepared([{"id": "x", "t": ["ab"]}], model=place, chat=True, turns_field="t")[1]["kept"] == 1


CHATS = "{% for m in messages %}<s>{{ m['content'] }}EOT{% endfor %}{% if add_generation_prompt %}<s>{% endif %}"


def test_an_answer_that_runs_on_past_the_end_of_its_turn_is_said_with_the_key_that_mends_it(prepared, talking, capsys):
    rows, entry = [{"id": "x", "q": "abc"}], {"chat": True, "model": talking(CHATS.replace("EOT", "</s>"))}
    prepared(rows, **entry)
    assert "warning" not in capsys.readouterr().out
    talking(CHATS.replace("EOT", "</s>"), eos_token_id=7)
    prepared(rows, **entry)
    (warning,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert says(warning, "models.m", "'</s>'", "id 2", "stop_tokens: ['</s>']")
    prepared(rows, **entry, stop_tokens=["</s>"])
    assert "warning" not in capsys.readouterr().out
    prepared(rows, **entry | {"chat": False})
    assert "warning" not in capsys.readouterr().out, "without a chat template no turn ends"
    with refused("stop_tokens", "'<|nothing|>'", "vocabulary"):
        prepared(rows, **entry, stop_tokens=["<|nothing|>"])


@pytest.mark.parametrize(
    ("row", "chat", "template", "state", "key"),
    [
        ("abc", True, CHATS.replace("<s>", "<s><s>", 1), "'<s>'", "chat_template"),
        ("<s><s>abc", False, CHATS, "'<s>'", "template"),
        ("abc</s>", False, CHATS, "'</s>'", "template"),
        ("abc", True, "{{ messages[0]['content'] }}</s>", "'</s>'", "chat_template"),
    ],
)
def test_special_tokens_at_the_edges_of_prompts_are_said(prepared, talking, capsys, row, chat, template, state, key):
    prepared([{"id": "x", "q": row}, {"id": "y", "q": "abc"}], chat=chat, model=talking(template))
    (warning,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert says(warning, "dataset d", f"{2 if chat else 1} of 2", state, f"`{key}`")


def test_an_empty_chat_template_is_not_taken_for_the_tokenizers_own(tmp_path):
    (tmp_path / "empty.jinja").write_text("\n")
    with refused("chat_template", ("empty.jinja", "empty"), "Jinja"):
        model_files.chat_template({"path": "anywhere", "chat_template": str(tmp_path / "empty.jinja")})
