#!/usr/bin/env bash
# Shows what weights of another dataset are worth: trains an ASN for cars, trams and cyclists once from scratch and once,
# for a quarter of the steps, from a detector that has seen trucks, vans, pedestrians and other things alone. Both train and are
# evaluated on the same synthetic scenes; a third run from scratch has the quarter's schedule, so that the difference is not its.
#
#     bash scripts/fine_tuning.sh [--seed N] [--dir DIR]
#
#     --seed N    seeds the scenes and the trainings (0)
#     --dir DIR   where everything is written (fine_tuning/seed-N in the checkout)
#
# Works from any directory; three quarters of an hour on two busy CPU cores. What a former run finished is reused. Fails if the quarter does not
# reach the amodal AP50 of the whole.
set -euo pipefail
stages=7
source "$(dirname "${BASH_SOURCE[0]}")/job.sh"
steps=900
quarter=$((steps / 4))

# Draws scenes of some classes and builds their records: scenes NAME CLASSES SEED IMAGES TEST_IMAGES
scenes() {
    script dataset synthesise --images "$4" --test-images "$5" --out "$dir/$1/scenes" --classes "$2" --seed "$3" \
        --traffic light --width 621 --height 188
    script build_dataset kins --manual-dir "$dir/$1/scenes" --data-dir "$dir/$1"
}

# Trains the demo's network on the scenes of a name, with any classes: train NAME RUN OPTION...
train() {
    script train asn_tiny --workdir "$dir/$2" --data.directory "$dir/$1/kins" --train.seed "$seed" --model.class-names= \
        "${@:3}"
}

begin "draw street scenes of other classes, and of those to be found"
scenes other truck,van,pedestrian,misc $((seed + 2000000)) 1608 8
scenes target car,tram,cyclist "$seed" 850 150

begin "train Mask R-CNN on the other classes, with inmodal masks alone as COCO has them"
train other pretrained --train.steps 2400 --train.evaluate-every 0 \
    --model.occlusion.enabled false --model.mlc.enabled false --model.heads.amodal-mask false

begin "train ASN from scratch"
train target from_scratch --train.steps "$steps" --train.evaluate-every $((steps / 6))

begin "train ASN from scratch for a quarter of the steps"
train target from_scratch_quarter --train.steps "$quarter" --train.evaluate-every $((quarter / 3))

begin "train ASN from the other classes' weights for a quarter of the steps"
train target fine_tuned --train.steps "$quarter" --train.evaluate-every $((quarter / 3)) --init "$dir/pretrained"

begin "compare"
script compare_runs "$dir"/{from_scratch,from_scratch_quarter,fine_tuned} --figure amodal/AP50 --out "$dir/amodal_ap50.svg"

whole="$(value "$dir/from_scratch/evaluation/metrics.json" amodal/AP50)"
fine_tuned="$(value "$dir/fine_tuned/evaluation/metrics.json" amodal/AP50)"
say "done"
at_least "$fine_tuned" "$whole" ||
    fail "amodal AP50 is $fine_tuned after $quarter steps of fine-tuning, and $whole after $steps from scratch"
echo "amodal AP50: $fine_tuned after $quarter steps of fine-tuning, $whole after $steps from scratch"
