#!/bin/sh
# What needs an NVIDIA GPU: tests, compute-sanitizer, benchmarks.
#
#     sh tests/run_gpu.sh FOLDER [STEP ...]
#
# Each step writes FOLDER/STEP.txt, and a line with its end to FOLDER/summary.txt. Without a name of
# a step all run. A step ends after LIMIT seconds (570); what it has printed until then is there.
# The script's own status is 1 where a step failed.
#
#   set_up     .venv-gpu with caffepy[cuda12,test]; CUDA=13: cuda13; TORCH=1: PyTorch too
#   test       pytest -m "gpu and not slow"
#   large      pytest -m "gpu and slow": values of more than 2^31 elements
#   memcheck, racecheck   compute-sanitizer over the tests in SANITIZED, where it is installed
#   train_step, kernels, pipeline   the benchmarks
#
# PYTHON names another Python than .venv-gpu's, which has what the steps need: then nothing is set up.
set -u
cd "$(dirname "$0")/.." || exit 1
[ $# -ge 1 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '$d' >&2; exit 2; }

out=$1
shift
if [ $# -eq 0 ]; then
    set -- set_up test large memcheck racecheck train_step kernels pipeline
fi
mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd)
LIMIT=${LIMIT:-570}
SANITIZED=${SANITIZED:-tests/engine/cuda/test_every_layer.py tests/engine/cuda/test_update.py}
python=${PYTHON:-.venv-gpu/bin/python}
export PYTHONUNBUFFERED=1
PYTHONPATH=$(pwd)${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH
status=0

# Runs a command with the limit: run STEP COMMAND ...
run() {
    step=$1
    shift
    begun=$(date +%s)
    { echo "$*"; timeout -k 20 "$LIMIT" "$@"; } >"$out/$step.txt" 2>&1
    code=$?
    case $code in
        0) end="passed" ;;
        124) end="stopped after $LIMIT s" ;;
        *) end="failed with status $code" ;;
    esac
    [ $code -eq 0 ] || status=1
    echo "$step: $end, $(($(date +%s) - begun)) s: $(tail -n 1 "$out/$step.txt")" |
        tee -a "$out/summary.txt"
}

tests() {
    run "$1" "$python" -m pytest tests -m "$2" -v --tb=short --durations=20 \
        --continue-on-collection-errors -p no:cacheprovider
}

sanitizer() {
    if ! command -v compute-sanitizer >/dev/null 2>&1; then
        echo "$1: left out: compute-sanitizer is not installed" | tee -a "$out/summary.txt"
        return
    fi
    # No pool: so the tool knows where each buffer ends.
    # shellcheck disable=SC2086 # several files
    CAFFEPY_TEST_UNPOOLED=1 run "$1" compute-sanitizer --tool "$1" --error-exitcode 9 \
        --target-processes all "$python" -m pytest $SANITIZED -m "gpu and not slow" -v --tb=short \
        -p no:cacheprovider
}

# Ends the script where no GPU can be used: all tests would be skipped.
check() {
    said=$("$python" -c 'from caffepy.engine.ops.cuda import runtime
raise SystemExit(runtime.available())' 2>&1) && return
    echo "no GPU: $said" | tee -a "$out/summary.txt" >&2
    exit 1
}

for step; do
    [ "$step" = set_up ] || check
    case $step in
        set_up)
            [ -z "${PYTHON:-}" ] || continue
            run set_up sh -c "python3 -m venv .venv-gpu && .venv-gpu/bin/python -m pip install \
                --quiet --disable-pip-version-check --editable '.[cuda${CUDA:-12},test]' \
                ${TORCH:+torch}"
            ;;
        test) tests test "gpu and not slow" ;;
        large) tests large "gpu and slow" ;;
        memcheck | racecheck) sanitizer "$step" ;;
        train_step) run train_step "$python" -m benchmarks.train_step --gpu 0 --rounds 5 ;;
        kernels) run kernels "$python" -m benchmarks.gpu_kernels ;;
        pipeline) run pipeline "$python" -m benchmarks.gpu_pipeline ;;
        *)
            echo "$step: expected set_up, test, large, memcheck, racecheck, train_step, kernels or" \
                "pipeline" >&2
            exit 2
            ;;
    esac
done
exit $status
