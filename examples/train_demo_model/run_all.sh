#!/usr/bin/env bash
# Downloads, draws, trains and scores: run_all.sh WORK_FOLDER OUTPUT_FOLDER
set -euo pipefail
work=$1
out=$2
here=$(cd "$(dirname "$0")" && pwd)
export OMP_WAIT_POLICY=passive
mkdir -p "$work"
python "$here/download.py" --work "$work"
python "$here/rasterise.py" --work "$work"
python "$here/teacher.py" --work "$work" --minutes "${TEACHER_MINUTES:-7}"
python "$here/pool.py" --work "$work"
python "$here/train_tower.py" --work "$work" --minutes "${TOWER_MINUTES:-20}"
python "$here/train_joint.py" --work "$work" --out "$out" --minutes "${JOINT_MINUTES:-24}"
python "$here/evaluate.py" --work "$work" --model "$out" --tests
