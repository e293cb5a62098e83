# Removes WAL segments below a cutoff, after a last test of what the archive's marks say, and looks at them once more.
# $1 pg_archivecleanup, $2 pg_wal, $3 the cutoff, $4 the first segment that may go, $5 how many may go, $6 "archived": each with a
# .done mark, and no .ready mark below the cutoff; "any": marks do not count.
# Prints one word a line with what it is about: held, removing, failed, gap, done.
set -u
LC_ALL=C
export LC_ALL
program=$1 wal=$2 cutoff=$3 first=$4 most=$5 marks=$6

held() {
  echo "held $1 $2"
  exit 0
}

# Timelines do not order segments: positions are the last 16 digits.
below() {
  [ "${1#????????}" \< "${cutoff#????????}" ]
}

waiting() {
  for mark in "$wal"/archive_status/*.ready; do
    name=${mark##*/}
    name=${name%.ready}
    case $name in
      *[!0-9A-F]*) ;;
      ????????????????????????) if below "$name"; then echo "$name"; return; fi ;;
    esac
  done
}

[ -d "$wal/archive_status" ] || held no-directory "$wal"
if [ "$marks" = archived ]; then
  found=$(waiting)
  [ -z "$found" ] || held waiting "$found"
fi
listed=$("$program" -n "$wal" "$cutoff") || held no-list "$cutoff"
count=0
for path in $listed; do
  name=${path##*/}
  case $name in
    *[!0-9A-F]*) held no-segment "$name" ;;
    ????????????????????????) ;;
    *) held no-segment "$name" ;;
  esac
  [ "${name%????????????????}" = "${cutoff%????????????????}" ] || held timeline "$name"
  below "$name" || held not-below "$name"
  if [ "$name" \< "$first" ]; then held not-agreed "$name"; fi
  if [ "$marks" = archived ]; then
    [ -e "$wal/archive_status/$name.done" ] || held not-done "$name"
  fi
  count=$((count + 1))
done
[ "$count" -le "$most" ] || held too-many "$count"

echo "removing $count"
said=$("$program" "$wal" "$cutoff" 2>&1) || echo "failed $said" | tr '\n' ' '
echo
if [ "$marks" = archived ]; then
  found=$(waiting)
  [ -z "$found" ] || echo "gap $found"
fi
echo "done $count"
