"""The topics of Kafka, and what is asked of a broker about them."""
