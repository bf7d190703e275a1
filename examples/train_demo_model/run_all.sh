#!/usr/bin/env bash
# Downloads, draws, trains and scores, stage by stage: run_all.sh WORK_FOLDER OUTPUT_FOLDER
#
# May be cut at any time and started again: finished stages are skipped (WORK_FOLDER/done/STAGE
# says so; remove one to run it anew), and training goes on from its last minute.
set -euo pipefail
work=$1
out=$2
here=$(cd "$(dirname "$0")" && pwd)
export OMP_WAIT_POLICY=passive
mkdir -p "$work/done"

stage() {
    local name=$1
    shift
    if [ -e "$work/done/$name" ]; then
        echo "$name: done before"
        return
    fi
    echo "$name: begins at $(date +%H:%M:%S)"
    "${PYTHON:-python}" -u "$here/$1.py" --work "$work" "${@:2}"
    touch "$work/done/$name"
}

stage download download
stage rasterise rasterise
stage teacher teacher --network "${TEACHER:-dinov2}" --minutes "${TEACHER_MINUTES:-7}"
stage pool pool --singles "${POOL_SINGLES:-72000}" --rows "${POOL_ROWS:-24000}"
stage tower train_tower --minutes "${TOWER_MINUTES:-20}"
stage joint train_joint --out "$out" --minutes "${JOINT_MINUTES:-24}"
# The scores come from one command for every model: also of the folder that is compared with.
for model in ${COMPARE_WITH:-} "$out"; do
    echo "scores of $model"
    "${PYTHON:-python}" -u "$here/evaluate.py" --work "$work" --model "$model" --tests \
        --per-task "${PER_TASK:-200}"
done
