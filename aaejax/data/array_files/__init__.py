"""Arrays in files: npz, npy and HDF5."""
