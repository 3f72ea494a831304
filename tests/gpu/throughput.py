"""How fast models run on a device, in this package and in plain sentence-transformers: what `run.sh` runs."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from sage_nb.models.cross_encoder import PairScorer
from sage_nb.models.device import allotted_compute, choose_compute
from sage_nb.models.encoder import SentenceEncoder
from sage_nb.models.library import quietly
from sage_nb.models.machine import GIGA, Product, Shape, product_rate
from sage_nb.models.weights import bundled_folder

WORDS = "a stream of records is cut by barriers whose checkpoints a failed task reads again from its offset".split()  # noqa: SIM905
SIZES = (32, 128, 512, 2048)  # batches of plain sentence-transformers
QUOTA = 0.02  # the share of a GPU's memory that is tried out


def main(arguments=None):
    """All parts; 1 where a result is not what plain sentence-transformers gives."""
    options = parsed(arguments)
    folder = Path(options.model) if options.model else bundled_folder()
    if options.halve:
        return halved(folder, options.halve)
    os.environ["SAGE_DEVICE"] = options.device
    print(facts(options))
    texts, pairs = made(options)
    with tempfile.TemporaryDirectory() as scratch:
        reranker = cross_encoder(folder, Path(scratch, "reranker"))
        sound = encoded(texts, folder, options) & scored(pairs, reranker, options) & share(options.device)
        try:
            sound &= piped(texts, folder, reranker, options)
        except ModuleNotFoundError as missing:
            print(f"pipeline  left out: {missing.name} is not installed")
    return 0 if sound else 1


def parsed(arguments):
    parser = argparse.ArgumentParser("run.sh", description=__doc__)
    parser.add_argument(
        "--model", default=os.environ.get("MODEL"), help="the encoder's folder (default: the package's)"
    )
    parser.add_argument("--device", default="cuda", help="where models run (default cuda)")
    parser.add_argument("--texts", type=int, default=20_000, help="to encode (default 20000)")
    parser.add_argument("--pairs", type=int, default=20_000, help="to score (default 20000)")
    parser.add_argument("--questions", type=int, default=200, help="to ask the pipeline (default 200)")
    parser.add_argument("--repeats", type=int, default=3, help="of each timing; the median counts (default 3)")
    parser.add_argument("--halve", metavar="FOLDER", help="only write the encoder to FOLDER in half precision")
    return parser.parse_args(arguments)


def facts(options):
    import sentence_transformers
    import torch

    name = torch.cuda.get_device_name() if options.device.startswith("cuda") else platform.processor() or "CPU"
    return (
        f"{name} · Python {platform.python_version()} · torch {torch.__version__} · "
        f"sentence-transformers {sentence_transformers.__version__} · {choose_compute(options.device)}"
    )


def made(options):
    """Texts of 5 to 250 words, most of them short, as passages are; and pairs of a question and such a text."""
    chance = random.Random(1)

    def text():
        return " ".join(chance.choices(WORDS, k=min(250, 5 + int(chance.expovariate(1 / 60)))))

    texts = [text() for _ in range(options.texts)]
    return texts, [(" ".join(chance.choices(WORDS, k=8)), text()) for _ in range(options.pairs)]


def cross_encoder(folder, target):
    """An untrained one of the encoder's architecture, which is that of ms-marco-MiniLM-L6: as fast as that."""
    import torch
    from sentence_transformers import CrossEncoder
    from transformers import AutoConfig, AutoTokenizer, BertForSequenceClassification

    torch.manual_seed(1)
    config = AutoConfig.from_pretrained(folder)
    config.num_labels = 1
    BertForSequenceClassification(config).float().save_pretrained(target / "plain")
    AutoTokenizer.from_pretrained(folder).save_pretrained(target / "plain")
    CrossEncoder(str(target / "plain"), device="cpu").save_pretrained(str(target / "whole"))
    return target / "whole"


def encoded(texts, folder, options):
    from sentence_transformers import SentenceTransformer

    compute = choose_compute(options.device)
    ours = SentenceEncoder("measured", folder, compute)
    plain, half = (SentenceTransformer(str(folder), device=options.device, local_files_only=True) for _ in range(2))
    plain.float()
    half.to(compute.torch_dtype)
    few = texts[: max(1, len(texts) // 4)]
    size = best_size(lambda size: half.encode(few, batch_size=size, show_progress_bar=False))
    rates, (mine, theirs, _) = compared(
        len(texts),
        options.repeats,
        lambda: ours.encode(texts),
        lambda: plain.encode(texts, batch_size=size, normalize_embeddings=True, show_progress_bar=False),
        lambda: half.encode(texts, batch_size=size, normalize_embeddings=True, show_progress_bar=False),
    )
    cosine = float(np.sum(mine * theirs, axis=1).min())
    tokens = half.tokenizer(texts, truncation=True, max_length=half.max_seq_length)["input_ids"]
    share = used(map(len, tokens), rates[0] / len(texts), folder, compute)
    print(line("encode", "docs/s", rates, compute.dtype, size), f"· {share} · cosine with plain at least {cosine:.4f}")
    return cosine > 0.99


def scored(pairs, folder, options):
    from sentence_transformers import CrossEncoder

    compute = choose_compute(options.device)
    ours = PairScorer("measured", folder, compute)
    plain, half = (CrossEncoder(str(folder), device=options.device, local_files_only=True) for _ in range(2))
    half.to(compute.torch_dtype)
    few = pairs[: max(1, len(pairs) // 4)]
    size = best_size(lambda size: half.predict(few, batch_size=size, show_progress_bar=False))
    rates, (mine, theirs, _) = compared(
        len(pairs),
        options.repeats,
        lambda: ours.score(pairs),
        lambda: plain.predict(pairs, batch_size=size, show_progress_bar=False),
        lambda: half.predict(pairs, batch_size=size, show_progress_bar=False),
    )
    apart = float(np.abs(mine - theirs).max())
    tokens = half.tokenizer(pairs, truncation=True, max_length=512)["input_ids"]
    share = used(map(len, tokens), rates[0] / len(pairs), folder, compute)
    print(line("rerank", "pairs/s", rates, compute.dtype, size), f"· {share} · scores at most {apart:.4f} from plain")
    return apart < 0.05


def best_size(run):
    """The batch size at which plain sentence-transformers is fastest here."""
    for size in SIZES:
        run(size)  # the first calls of a GPU's kernels choose and load them
    return min(SIZES, key=lambda size: timed(lambda: run(size)))


def used(lengths, turns, folder, compute):
    """How much of the fastest large product texts of these lengths are, so many times a second."""
    reached = turns * Shape.of(folder).operations(lengths) / GIGA
    side = 8192 if compute.device.startswith("cuda") else 1024
    best = product_rate(Product(side, side, side), compute.dtype, compute, 0.3)
    return f"{reached / 1000:,.1f} of the device's {best / 1000:,.1f} TFLOP/s ({reached / best:.1%})"


def compared(count, repeats, *ways):
    """Of each way how many a second, the median of several turns, after one that does not count; and what it gave."""
    gave = [way() for way in ways]
    took = [[timed(way) for way in ways] for _ in range(repeats)]
    return [count / statistics.median(turns) for turns in zip(*took, strict=True)], gave


def timed(way):
    begun = time.perf_counter()
    way()  # its result is on the CPU when it returns, so the device is done
    return time.perf_counter() - begun


def line(what, unit, rates, dtype, size):
    ours, plain, half = rates
    return (
        f"{what:<8}  {ours:,.0f} {unit} in {dtype} · plain {plain:,.0f} in float32 ({ours / plain:.2f} x), "
        f"{half:,.0f} in {dtype} ({ours / half:.2f} x), batches of {size}"
    )


def share(device):
    """Whether a process with a share of a GPU gets no more of its memory than that."""
    if not device.startswith("cuda"):
        print("share     left out: it is a GPU's memory that is shared")
        return True
    import torch

    whole = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.empty_cache()
    os.environ["SAGE_GPU_FRACTION"] = str(QUOTA)
    allotted_compute()
    try:
        torch.empty(int(2 * QUOTA * whole), dtype=torch.uint8, device=device)
        held = False
    except torch.OutOfMemoryError:
        held = True
    os.environ["SAGE_GPU_FRACTION"] = "1"
    allotted_compute()
    del os.environ["SAGE_GPU_FRACTION"]
    print(f"share     {QUOTA:g} of {whole / 2**30:.0f} GiB: {'no more is given' if held else 'MORE WAS GIVEN'}")
    return held


def piped(texts, folder, reranker, options):
    """A stream that embeds, and questions asked of a collection, whose hits are reranked."""
    embedding = embedded(texts, folder)
    asked, pairs, dense = answered(texts, folder, reranker, options.questions)
    retrieval = "BM25, dense retrieval, fusion" if dense else "BM25 (no faiss, so no dense retrieval)"
    print(
        f"pipeline  {embedding:,.0f} docs/s through a stream · {asked:,.1f} questions/s and {pairs:,.0f} pairs/s "
        f"through {retrieval} and reranking"
    )
    return True


def embedded(texts, folder):
    from sage_nb.runtime.environment import LocalEnvironment
    from sage_nb.stream.function import MapFunction
    from sage_nb.stream.sink import CollectSink

    class Embed(MapFunction):
        def open(self, context):
            self.encoder = SentenceEncoder("measured", folder, allotted_compute())

        def map_batch(self, batch):
            return list(self.encoder.encode(batch))

    env, rows = LocalEnvironment("embed"), []
    env.from_collection(texts).map(Embed, batch=(1024, 0.05), on_error="fail").sink(CollectSink(rows))
    took = timed(env.submit().wait)
    assert len(rows) == len(texts)
    return len(texts) / took


def answered(texts, folder, reranker, questions):
    """Questions and pairs a second, and whether there was dense retrieval too."""
    import sage_nb as sage

    dense = importlib.util.find_spec("faiss") is not None
    with tempfile.TemporaryDirectory() as scratch:
        book = sage.Collection(scratch, encoder=str(folder) if dense else None)
        book.add([sage.Document(f"d{n}", text) for n, text in enumerate(texts)], progress=False)
        found = book.hybrid(50) if dense else book.lexical(50)
        pipe = (found % 50) >> sage.rerank(k=10, model=str(reranker))
        asked = [f"{' '.join(random.Random(n).choices(WORDS, k=6))} {n}" for n in range(questions)]
        _ = pipe.run(asked[:1]).results  # loads what there is to load
        hits = sum(len(result.hits) for result in (found % 50).run(asked).results)
        took = timed(lambda: pipe.run(asked).results)
    return questions / took, hits / took, dense


def halved(folder, target):
    from sentence_transformers import SentenceTransformer

    SentenceTransformer(str(folder), device="cpu", local_files_only=True).half().save_pretrained(target)
    print(f"{folder} in half precision: {target}")
    return 0


if __name__ == "__main__":
    with quietly():
        sys.exit(main())
