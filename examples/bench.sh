#!/usr/bin/env bash
# Runs the example pipeline untraced and traced in turn, and prints the seconds of each.
#
#   PYTHON=.venv/bin/python examples/bench.sh DIRECTORY [ROUNDS]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=$(cd "$(dirname "$PYTHON")" && pwd)/$(basename "$PYTHON")
export PATH="$(dirname "$python"):$PATH" RAY_USAGE_STATS_ENABLED=0 TIMEFORMAT=%R

rm -rf "$1"
mkdir -p "$1"
cd "$1"
cp "$here/pipeline.py" .
roar init . >/dev/null
echo "untraced traced"
for _ in $(seq "${2:-5}"); do
  untraced=$({ time python pipeline.py >untraced.log 2>&1; } 2>&1)
  traced=$({ time roar run -q python pipeline.py >traced.log 2>&1; } 2>&1)
  echo "$untraced $traced"
done
