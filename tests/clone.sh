#!/usr/bin/env bash
# The repository as its users treat it: cloned with the line ends of Windows, interrupted while it
# installs, copied, moved, installed without its folder. Takes minutes, as it installs twice.
set -euo pipefail
unset PYTHONPATH # it would come before what is installed
repository=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

say() { echo "clone.sh: $*"; }
fail() { say "$*" >&2; exit 1; }

installs_here() { # In this clone make installs the clone's own code, with all records readable.
    make .venv/installed
    code=$(cd / && "$OLDPWD/.venv/bin/python" -c 'import bump_diffusion; print(*bump_diffusion.__path__)')
    [ "$code" = "$PWD/src/bump_diffusion" ] || fail "$PWD runs $code"
    .venv/bin/bump-diffusion list > list.txt
    ! grep refused list.txt || fail "records are refused"
    grep -q shipped list.txt || fail "there are no records"
}

say "interrupted, in a clone with the line ends of Windows"
git clone -q -c core.autocrlf=true "$repository" "first one"
cd "first one"
timeout --signal=INT 3 make .venv/installed && fail "it was too fast to be interrupted"
installs_here

say "copied"
cp -r "../first one" ../copied
cd ../copied
installs_here

say "moved"
make --question .venv/installed || fail "it would be installed again"
mv "../first one" ../moved
cd ../moved
! make --question .venv/installed || fail "it would not be installed again"
cd ../copied

say "installed without its folder"
.venv/bin/python -m pip install --quiet --no-deps --force-reinstall .
for command in book list; do
    code=0
    (cd / && env -u BUMP_DIFFUSION_STORE "$folder/copied/.venv/bin/bump-diffusion" $command) 2> error.txt || code=$?
    [ "$code" = 2 ] || fail "$command ended with $code"
    [ "$(wc -l < error.txt)" = 1 ] && grep -q "clone of the repository" error.txt || fail "$(cat error.txt)"
done
say "all is well"
