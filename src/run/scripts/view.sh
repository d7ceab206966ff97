# sh view.sh DIR RUN OUT ERR: prints what the run recorded, from these offsets on, in frames.
#   SBXO offset length LF bytes        standard output, or the terminal
#   SBXE offset length LF bytes        standard error
#   SBXK LF                            the bytes of the last frame were still there when they were read
#   SBXG stream from to LF             bytes that are no longer held, of stream 1 or 2; right behind a frame
#                                      it takes the place of SBXK: that frame's bytes may be no more than zeros
#   SBXX exit outsize errsize why LF   the end; `-` if it ended by itself
#   SBXL outsize errsize LF            no exit status and nothing left of the run
# The exit file is looked at before the sizes, so the last round shows everything. A file descriptor
# keeps the place: no tool has to find an offset in a long log twice.
D=$1; R=$2; a=$3; b=$4; i=0; lost=0; f=0
size() { stat -c %s "$1" 2>/dev/null || wc -c <"$1" 2>/dev/null || echo 0; }
# Sets n and m to the sizes of both streams.
sizes() { set -- $(stat -c %s "$D/out" "$D/err" 2>/dev/null); n=${1:-$(size "$D/out")} m=${2:-$(size "$D/err")}; }
seek() { [ "$1" -gt 0 ] || return 0; dd bs=65536 skip=$(($1 / 65536)) count=0 2>/dev/null; dd bs=1 skip=$(($1 % 65536)) count=0 2>/dev/null; }
# Looks often while something happens, and less often when nothing does.
nap() {
  if [ $f -lt 50 ]; then f=$((f + 1)); sleep 0.02 2>/dev/null || sleep 1; else sleep 0.1 2>/dev/null || sleep 1; fi
}
alive() { grep -qz "^SANDBOX_CODER_RUN=$R$" /proc/[0-9]*/environ 2>/dev/null; }
# Sets x and y to the hole of file $1 at or after the offset $2; y is 0 without one.
hole() { x=0; y=0; [ ! -e "$1.hole" ] || read -r x y <"$1.hole"; [ "$y" -gt "$2" ] || y=0; }
# Prints the stream $1 $2 from its file $3, open as $4, between the offsets $5 and $6; `at` is where that ended.
show() {
  at=$5
  while [ "$6" -gt "$at" ]; do
    k=$(($6 - at)); [ $k -le 65536 ] || k=65536; quiet=0
    hole "$3" "$at"
    if [ "$y" -gt 0 ] && [ "$at" -ge "$x" ]; then
      printf 'SBXG %s %s %s\n' "$2" "$at" "$y"; seek $((y - at)) <&$4 >/dev/null; at=$y; continue
    fi
    [ "$y" -eq 0 ] || [ $k -le $((x - at)) ] || k=$((x - at))
    printf 'SBX%s %s %s\n' "$1" "$at" "$k"; dd bs=$k count=1 <&$4 2>/dev/null
    hole "$3" "$at"; z=$at; at=$((at + k))
    if [ "$y" -gt 0 ] && [ "$at" -gt "$x" ]; then printf 'SBXG %s %s %s\n' "$2" "$z" "$at"; else echo SBXK; fi
  done
}
n=0; while [ ! -e "$D/out" ] || [ ! -e "$D/err" ]; do
  nap; n=$((n + 1)); [ $n -lt 340 ] || { printf 'SBXL 0 0\n'; sleep 20; exit; }
done
exec 3<"$D/out" 4<"$D/err"
seek "$a" <&3 >/dev/null; seek "$b" <&4 >/dev/null
while :; do
  e=; [ ! -e "$D/exit" ] || read -r e <"$D/exit"
  sizes; quiet=1
  show O 1 "$D/out" 3 "$a" "$n"; a=$at
  show E 2 "$D/err" 4 "$b" "$m"; b=$at
  [ -z "$e" ] || {
    w=-; [ ! -e "$D/ended" ] || w=$(cat "$D/ended")
    printf 'SBXX %s %s %s %s\n' "$e" "$n" "$m" "${w:-stopped}"; break
  }
  if [ $quiet = 0 ]; then i=0; lost=0; f=0; else
    i=$((i + 1))
    if [ $i -ge 30 ]; then
      i=0
      if alive; then lost=0; else lost=$((lost + 1)); fi
      [ $lost -lt 3 ] || { printf 'SBXL %s %s\n' "$n" "$m"; break; }
    fi
    nap
  fi
done
# The reader closes the terminal; one that ends by itself would lose its last bytes and leave a leak.
sleep 20
