# sh view.sh DIR RUN OUT ERR: prints what the run recorded, from these offsets on, in frames.
#   SBXO offset length LF bytes        standard output, or the terminal
#   SBXE offset length LF bytes        standard error
#   SBXG stream from to LF             bytes that are no longer held, of stream 1 or 2
#   SBXX exit outsize errsize why LF   the end; `-` if it ended by itself
#   SBXL outsize errsize LF            no exit status and nothing left of the run
# The exit file is looked at before the sizes, so the last round shows everything. A file descriptor
# keeps the place: no tool has to find an offset in a long log twice.
D=$1; R=$2; a=$3; b=$4; i=0; lost=0; f=0
size() { stat -c %s "$1" 2>/dev/null || wc -c <"$1" 2>/dev/null || echo 0; }
seek() { dd bs=65536 skip=$(($1 / 65536)) count=0 2>/dev/null; dd bs=1 skip=$(($1 % 65536)) count=0 2>/dev/null; }
# Looks often while something happens, and less often when nothing does.
nap() {
  if [ $f -lt 50 ]; then f=$((f + 1)); sleep 0.02 2>/dev/null || sleep 1; else sleep 0.1 2>/dev/null || sleep 1; fi
}
alive() { grep -qz "^SANDBOX_CODER_RUN=$R$" /proc/[0-9]*/environ 2>/dev/null; }
# Sets x and y to the hole of file $1 at or after the offset $2; y is 0 without one.
hole() { x=0; y=0; [ ! -e "$1.hole" ] || read -r x y <"$1.hole"; [ "$y" -gt "$2" ] || y=0; }
n=0; while [ ! -e "$D/out" ] || [ ! -e "$D/err" ]; do
  nap; n=$((n + 1)); [ $n -lt 340 ] || { printf 'SBXL 0 0\n'; sleep 20; exit; }
done
exec 3<"$D/out" 4<"$D/err"
seek "$a" <&3 >/dev/null; seek "$b" <&4 >/dev/null
while :; do
  e=; [ ! -e "$D/exit" ] || e=$(cat "$D/exit")
  n=$(size "$D/out"); m=$(size "$D/err"); quiet=1
  while [ "$n" -gt "$a" ]; do
    hole "$D/out" "$a"; k=$((n - a)); [ $k -le 65536 ] || k=65536
    if [ "$y" -gt 0 ] && [ "$a" -ge "$x" ]; then
      printf 'SBXG 1 %s %s\n' "$a" "$y"; seek $((y - a)) <&3 >/dev/null; a=$y; continue
    fi
    [ "$y" -eq 0 ] || [ $k -le $((x - a)) ] || k=$((x - a))
    printf 'SBXO %s %s\n' "$a" "$k"; dd bs=$k count=1 <&3 2>/dev/null; a=$((a + k)); quiet=0
  done
  while [ "$m" -gt "$b" ]; do
    hole "$D/err" "$b"; k=$((m - b)); [ $k -le 65536 ] || k=65536
    if [ "$y" -gt 0 ] && [ "$b" -ge "$x" ]; then
      printf 'SBXG 2 %s %s\n' "$b" "$y"; seek $((y - b)) <&4 >/dev/null; b=$y; continue
    fi
    [ "$y" -eq 0 ] || [ $k -le $((x - b)) ] || k=$((x - b))
    printf 'SBXE %s %s\n' "$b" "$k"; dd bs=$k count=1 <&4 2>/dev/null; b=$((b + k)); quiet=0
  done
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
