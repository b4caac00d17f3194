"""The flow engine: records of one connection, kept up at another. docs/explanation/flows.md tells why each rule is there."""
