#!/usr/bin/env bash
# Runs the example pipeline in a fresh project under `roar run`, and prints its graph.
# With ASSERT set, the graph is compared with the expected one.
#
#   PYTHON=.venv/bin/python examples/demo.sh DIRECTORY
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=$(cd "$(dirname "$PYTHON")" && pwd)/$(basename "$PYTHON")
export PATH="$(dirname "$python"):$PATH"
# The demo shows what it runs; Ray's usage notice is not part of that.
export RAY_USAGE_STATS_ENABLED=0

rm -rf "$1"
mkdir -p "$1"
cd "$1"
cp "$here/pipeline.py" .
roar init . >/dev/null

echo '$ roar run python pipeline.py'
roar run python pipeline.py
echo
echo '$ roar dag'
roar dag
if [ -n "${ASSERT:-}" ]; then
  roar dag --json >dag.json
  python "$here/compare.py" dag.json pipeline-out "$here/expected-graph.json"
fi
