"""parse-p2p: a decentralised peer-to-peer runtime for multimodal federated learning."""

__version__ = "0.1.0"
