"""Who is where: which addresses, names and LSIs belong to a Host Identity Tag."""
