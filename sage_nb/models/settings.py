"""What the files beside a model's weights say of it, where it is a plain BERT; else another program has to run it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Pooling = Literal["mean", "cls"]
Task = Literal["encoder", "cross-encoder"]

SIGMOID = "torch.nn.modules.activation.Sigmoid"  # where none is told
ACTIVATIONS = {SIGMOID: "sigmoid", "torch.nn.modules.linear.Identity": "identity"}
LONGEST = 512  # tokens, where nothing is told
KNOWN = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
NORMALIZED = {"type": "BertNormalizer", "clean_text": True}
LOWERING = {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}  # where it is not told
INPUTS = ["input_ids", "token_type_ids", "attention_mask"]
PLAIN = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "is_decoder": False,
    "position_embedding_type": "absolute",
    "quantization_config": None,
}
SIZES = {"num_hidden_layers", "num_attention_heads", "hidden_size", "layer_norm_eps", "max_position_embeddings"}
OPTIONS = {"max_seq_length", "do_lower_case", "transformer_task", "modality_config", "module_output_name"}


@dataclass(frozen=True)
class Settings:
    """Of a BERT with absolute positions and GELU.

    `pooling` is an encoder's; `activation`, what a cross-encoder's logit goes through. `longest` is in tokens.
    """

    layers: int
    heads: int
    dimension: int
    epsilon: float
    longest: int
    pooling: Pooling | None
    activation: str | None

    @classmethod
    def of(cls, folder: Path, task: Task) -> Settings | None:
        """Those of the model in a folder; None where anything about it is not of this kind, or not known.

        >>> from sage_nb.models.weights import RERANKER_FOLDER, bundled_folder
        >>> Settings.of(bundled_folder(), "encoder").pooling, Settings.of(RERANKER_FOLDER, "cross-encoder").layers
        ('mean', 3)
        >>> Settings.of(bundled_folder(), "cross-encoder") is None  # it has no head
        True
        """
        config = _read(folder, "config.json")
        plain = all(config.get(name, value) == value for name, value in PLAIN.items()) and "model_type" in config
        whole = config.keys() >= SIZES  # an old one may leave some out
        bare = _read(folder, "sentence_bert_config.json").keys() <= OPTIONS  # others change the model or its tokenizer
        if not (plain and whole and bare and _tokenizes_plainly(folder) and _weights_are_plain(folder)):
            return None
        pooling = _pooling(folder) if task == "encoder" else None
        activation = _activation(folder, config) if task == "cross-encoder" else None
        if pooling is None and activation is None:
            return None
        return cls(
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            dimension=config["hidden_size"],
            epsilon=config["layer_norm_eps"],
            longest=_longest(folder, config["max_position_embeddings"]),
            pooling=pooling,
            activation=activation,
        )

    def tokenizer(self, folder: Path) -> Tokenizer:
        """That of the folder, which cuts to what the model reads."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.longest, strategy="longest_first")
        return tokenizer


def _read(folder: Path, name: str) -> dict[str, Any]:
    """A JSON object, empty where there is none."""
    path = folder / name
    held = json.loads(path.read_bytes()) if path.exists() else {}
    return held if isinstance(held, dict) else {}


def _tokenizes_plainly(folder: Path) -> bool:
    """Whether tokenizer.json is all there is to it: what stands beside it may overrule it."""
    normalizer = _read(folder, "tokenizer.json").get("normalizer") or {}
    told = {**LOWERING, **_read(folder, "tokenizer_config.json")}
    agrees = {
        "do_lower_case": normalizer.get("lowercase"),
        "strip_accents": normalizer.get("strip_accents"),
        "tokenize_chinese_chars": normalizer.get("handle_chinese_chars"),
        "truncation_side": "right",
        "model_input_names": INPUTS,
    }
    return (
        all(normalizer.get(name) == value for name, value in NORMALIZED.items())
        and all(told.get(name, value) == value for name, value in agrees.items())
        and str(told.get("tokenizer_class", "BertTokenizer")).startswith("BertTokenizer")
        and not _read(folder, "sentence_bert_config.json").get("do_lower_case")
    )


def _weights_are_plain(folder: Path) -> bool:
    """In one file, under today's names: a norm's were once gamma and beta; and with no adapter to them."""
    path = folder / "model.safetensors"
    if not path.exists() or (folder / "adapter_config.json").exists():
        return False
    from safetensors import safe_open

    with safe_open(path, "np") as held:
        names = {name.removeprefix("bert.") for name in held.keys()}  # noqa: SIM118  it is no mapping
    return {"embeddings.word_embeddings.weight", "embeddings.LayerNorm.weight"} <= names


def _pooling(folder: Path) -> Pooling | None:
    """Of a sentence-transformers model that does no more than pool, and normalise, what the transformer gives."""
    modules = _modules(folder)
    if [each["type"].rpartition(".")[2] for each in modules] not in KNOWN or not _are_the_librarys(modules):
        return None
    told = _read(folder / modules[1]["path"], "config.json")
    modes = [name for name, on in told.items() if name.startswith("pooling_mode_") and on is True]
    mode = told.get("pooling_mode") or "+".join(modes)
    if mode in ("mean", "pooling_mode_mean_tokens"):
        return "mean"
    return "cls" if mode in ("cls", "pooling_mode_cls_token") else None


def _activation(folder: Path, config: Mapping[str, Any]) -> str | None:
    """What the library would put a cross-encoder's one logit through."""
    labels = config.get("id2label", {"0": "", "1": ""})
    if config.get("architectures") != ["BertForSequenceClassification"] or len(labels) != 1:
        return None
    modules = _modules(folder)
    if [each["type"].rpartition(".")[2] for each in modules] not in ([], ["Transformer"]):
        return None
    told = (
        _read(folder, "config_sentence_transformers.json").get("activation_fn")
        or (config.get("sentence_transformers") or {}).get("activation_fn")
        or config.get("sbert_ce_default_activation_function")
        or SIGMOID
    )
    return ACTIVATIONS.get(told) if _are_the_librarys(modules) else None


def _modules(folder: Path) -> list[dict[str, str]]:
    path = folder / "modules.json"
    return json.loads(path.read_bytes()) if path.exists() else []


def _are_the_librarys(modules: Sequence[Mapping[str, str]]) -> bool:
    """And of the model in the folder itself: some keep theirs below it, or bring code of their own."""
    own = all(each["type"].startswith("sentence_transformers.") for each in modules)
    return own and not any(each["path"] for each in modules[:1])


def _longest(folder: Path, positions: int) -> int:
    told = _read(folder, "sentence_bert_config.json").get("max_seq_length")
    return int(min(told or _read(folder, "tokenizer_config.json").get("model_max_length") or positions, positions))
