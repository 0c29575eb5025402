"""Datagrams of many sockets in one system call, where the kernel offers that (io_uring)."""
