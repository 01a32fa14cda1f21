#!/usr/bin/env bash
# From nothing but Python to a trained SrSENet x4 and a picture that compares it with bicubic, in a few minutes.
#   bash scripts/quickstart.sh
# Running it again goes on where it was stopped; a finished training is not repeated.

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" ""

data=datasets/quickstart
echo "== Training and validation photographs"
python scripts/quickstart_photos.py "$data/photos"
srsenet prepare folder --source "$data/photos/train" --out "$data" --name quickstart --scales 4
srsenet prepare benchmark --source "$data/photos/val" --out "$data" --scales 4

echo "== Training x4, one to three minutes on two CPU cores"
python basicsr/train.py -opt options/quickstart/train_SrSENet_x4_quickstart.yml --auto_resume ||
    fail "the training stopped; the lines above say why. Running this script again goes on from its last checkpoint."

echo "== Testing"
rm -rf results/test_SrSENet_x4_quickstart # BasicSR would keep it under another name
python basicsr/test.py -opt options/quickstart/test_SrSENet_x4_quickstart.yml ||
    fail "the test stopped; the lines above say why."

echo "== Comparing with bicubic"
srsenet compare --scale 4 --archs Bicubic SrSENet --benchmarks "$data" --no-timing --out results/quickstart \
    --weights SrSENet=experiments/train_SrSENet_x4_quickstart/models/net_g_latest.pth ||
    fail "the comparison stopped; the lines above say why."
echo "The picture: results/quickstart/crops_x4.png"
