# The site's Open MPI: Debian's library and launcher, not the library of the environment.
. "$(dirname "$0")/lib.sh"
export MPI4PY_LIBMPI=$(echo /usr/lib/*/libmpi.so.40)
# Open MPI refuses to run as root without them
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
python -c 'from mpi4py import MPI; print(MPI.Get_library_version())' | grep "Open MPI v4"
for ranks in 2 3; do
    temper $ranks mpirun.openmpi --oversubscribe -n $ranks
done
rest
