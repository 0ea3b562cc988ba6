"""Where a consumer's events come from: Kafka topics, or spools of this node."""
