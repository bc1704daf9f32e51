CARDS = open('tests/cards.json')
