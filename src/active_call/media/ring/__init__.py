"""Send and receive the datagrams of many sockets in one system call, if the kernel supports io_uring."""
