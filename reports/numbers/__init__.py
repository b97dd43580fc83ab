"""The numbers of tables and figures; no words here."""
