"""The DNS: HIP resource records, looked up and published, and names under `.hip` answered."""
