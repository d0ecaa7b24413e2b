# The site's MPICH: Debian's library, whose name is not the one that mpi4py's wheel asks for, and
# Debian's launcher.
. "$(dirname "$0")/lib.sh"
site=$(echo /usr/lib/*/libmpich.so.12)
if MPI4PY_LIBMPI=$site python -c 'from mpi4py import MPI'; then
    fail "the library is found by its own name: docs/clusters.md says that it is not"
fi
mkdir "$WORK/mpi"
ln -s "$site" "$WORK/mpi/libmpi.so.12"
export LD_LIBRARY_PATH=$WORK/mpi MPI4PY_LIBMPI=$WORK/mpi/libmpi.so.12
python -c 'from mpi4py import MPI; print(MPI.Get_library_version())' | grep -E "MPICH Version:\s*4"
for ranks in 2 3; do
    temper $ranks mpiexec.mpich -n $ranks
done
rest
