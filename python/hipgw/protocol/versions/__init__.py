"""What differs between the versions of HIP, each behind one object of the same surface."""
