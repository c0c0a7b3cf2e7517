# What the long jobs (demo.sh, fine_tuning.sh) share; they set `stages` to the number of their stages and source it with their
# own arguments. Sets root, seed, dir (made, and absolute) and python, and does the first stage, which sets up the environment.
# A job's name is that of its file, and its --help the comment at its top.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
job="$(basename "$0" .sh)"

fail() {
    echo "error: $*" >&2
    exit 1
}

say() { printf '\n== %s  [%d:%02d]\n' "$*" $((SECONDS / 60)) $((SECONDS % 60)); }

stage=0
begin() {
    stage=$((stage + 1))
    say "$stage/$stages $*"
}

script() { "$python" "$root/scripts/$1.py" "${@:2}"; }

# The value of a dotted key of a json file, for example: value config.json train.steps
value() {
    "$python" -c '
import functools, json, sys
print(functools.reduce(lambda values, key: values[key], sys.argv[2].split("."), json.load(open(sys.argv[1]))))
' "$@"
}

# Whether the first of two numbers is at least the second.
at_least() { "$python" -c 'import sys; sys.exit(not float(sys.argv[1]) >= float(sys.argv[2]))' "$@"; }

seed=0
dir=""
while (($#)); do
    case "$1" in
        --seed=* | --dir=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
        --seed | --dir)
            [[ -n "${2:-}" ]] || fail "$1 needs a value"
            [[ "$1" == --seed ]] && seed="$2" || dir="$2"
            shift 2
            ;;
        -h | --help)
            sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"
            exit 0
            ;;
        *) fail "unknown argument $1; see --help" ;;
    esac
done
[[ "$seed" =~ ^[0-9]+$ ]] || fail "--seed $seed is no whole number"
dir="${dir:-$root/$job/seed-$seed}"
mkdir -p "$dir"
dir="$(cd "$dir" && pwd)"

begin "set up the environment"
bash "$root/scripts/setup.sh"
export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$root/.cache/jax}"
python="$root/.venv/bin/python"
