#!/usr/bin/env bash
# datasets' Dataset.map returns the result of the old code after the module of its function was edited.
#
# Versions: datasets 5.2.0, Python 3.11.
# Use:      ds.map(encode.features), where encode.py is a file of the project; then encode.py is edited and the script is
#           run again.
# Expected: the function has changed, so its fingerprint has, and the map runs again: that is how the documentation
#           describes the cache.
# Happens:  a function defined in the script itself is hashed by its code, a function imported from a module by its name
#           alone. After the edit the cached result of the old code comes back, with no message. A feature extractor
#           kept in a module of its own, as in any project, is fixed and the features stay as they were.
# Output seen:
#   scale 1:  imported function 1 2   function of the script 1 2
#   scale 10: imported function 1 2   function of the script 10 20
# What helps: new_fingerprint= with a digest of what determines the result, or load_from_cache_file=False.
#
# Ends with 0 while it is so, with 1 once the edit is noticed, with 2 where the packages cannot be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile datasets==5.2.0 || exit 2
cd "$work"
printf '{"x": 1}\n{"x": 2}\n' > rows.json

# write_project SCALE: the module with the function, and the script with a copy of it.
write_project() {
    cat > encode.py <<PY
def features(row):
    return {"feature": row["x"] * $1}
PY
    cat > run.py <<PY
import datasets
import encode

datasets.disable_progress_bars()


def features(row):
    return {"feature": row["x"] * $1}


rows = datasets.load_dataset("json", data_files="rows.json", split="train")
print("imported function", *rows.map(encode.features)["feature"], end="   ")
print("function of the script", *rows.map(features)["feature"])
PY
}

run() { HF_HOME="$work/cache" HF_HUB_OFFLINE=1 "$work/venv/bin/python" -B run.py; }

write_project 1
before=$(run)
write_project 10
after=$(run)
echo "scale 1:  $before"
echo "scale 10: $after"
test "$after" = "imported function 1 2   function of the script 10 20"
