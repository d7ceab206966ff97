# Needs D, R, G (seconds between TERM and KILL), WHY and the functions of sweep.sh. Ends every process
# that carries the run's marker, wherever it hides in the process tree.
claim "$WHY"
finish
e=-; [ ! -e "$D/exit" ] || e=$(cat "$D/exit")
w=-; [ ! -e "$D/ended" ] || w=$(cat "$D/ended")
left=0; ! sweep 0 || left=1
say run-stopped $e $left ${w:-stopped}
