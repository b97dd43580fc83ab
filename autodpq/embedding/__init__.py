"""Plans and unions of candidates as embeddings."""
