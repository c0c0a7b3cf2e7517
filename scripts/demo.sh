#!/usr/bin/env bash
# The whole way on data that it makes itself: synthetic street scenes, TFDS records, training of a small Amodal Segmentation
# Network from scratch (stopped once and resumed), evaluation, prediction on unseen images, and a report to look at.
#
#     bash scripts/demo.sh [--seed N] [--dir DIR]
#
#     --seed N    seeds the scenes and the training (0)
#     --dir DIR   where everything is written (demo/seed-N in the checkout)
#
# Works from any directory. What a former run finished is reused. Fails if the amodal AP50 on held-out scenes is below 0.30.
stages=8
source "$(dirname "${BASH_SOURCE[0]}")/job.sh"
required_ap50=0.30
run="$dir/run"
# Scenes that neither training nor evaluation sees.
unseen_seed=$((seed + 1000000))

# The last step that the run has logged; 0 before the first.
last_step() {
    local line
    line="$(tail -n 1 "$run/metrics.jsonl" 2>/dev/null || true)"
    [[ "$line" =~ \"step\":\ *([0-9]+) ]] && echo "${BASH_REMATCH[1]}" || echo 0
}

begin "draw synthetic street scenes with exact amodal masks"
# Few and large objects, which a small network learns from in minutes.
scenes=(--traffic light --width 621 --height 188)
script dataset synthesise --images 850 --test-images 150 --seed "$seed" --out "$dir/scenes" "${scenes[@]}"
script dataset synthesise --images 9 --test-images 8 --seed "$unseen_seed" --out "$dir/unseen" "${scenes[@]}"

begin "build the dataset's records"
script build_dataset kins --manual-dir "$dir/scenes" --data-dir "$dir/datasets"
train=("$python" "$root/scripts/train.py" asn_tiny --workdir "$run")
train+=(--data.directory "$dir/datasets/kins" --train.seed "$seed")

begin "train from scratch, and stop half way"
if [[ ! -f "$run/config.json" ]] || (($(last_step) < $(value "$run/config.json" train.steps) / 2)); then
    "${train[@]}" &
    training=$!
    trap 'kill -TERM "$training" 2>/dev/null' EXIT
    half=""
    while kill -0 "$training" 2>/dev/null; do
        [[ -z "$half" && -f "$run/config.json" ]] && half=$(($(value "$run/config.json" train.steps) / 2))
        if [[ -n "$half" ]] && (($(last_step) >= half)); then
            echo "demo: stopping the training with SIGTERM at step $(last_step)"
            kill -TERM "$training"
            break
        fi
        sleep 1
    done
    wait "$training" || fail "the training ended with status $?"
    trap - EXIT
else
    echo "demo: this run has been stopped before, at step $(last_step) or earlier"
fi

begin "resume the training with the same command, to its end"
"${train[@]}"

begin "evaluate the checkpoint on held-out scenes"
script evaluate --checkpoint "$run"

begin "predict on unseen images"
script predict --checkpoint "$run" "$dir/unseen/testing/image_2" --out "$dir/predictions"

begin "write the report"
script report "$run"

metrics="$run/evaluation/metrics.json"
ap50="$(value "$metrics" amodal/AP50)"
say "done"
echo "metrics:     $metrics"
echo "predictions: $dir/predictions"
echo "report:      $run/report.html"
at_least "$ap50" "$required_ap50" || fail "amodal AP50 is $ap50, below $required_ap50"
echo "amodal AP50: $ap50 (at least $required_ap50 is required)"
