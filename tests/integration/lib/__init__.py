"""What integration tests, benchmarks and scripts share: the S3 server, a small client, mounts, meters."""
